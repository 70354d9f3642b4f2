import fc from 'fast-check'
import t from 'tap'
import {
  allocatePorts,
  dynamicPorts,
  PortError,
  type HeldPort,
  type HostPort,
  type PortContext,
  type PortWish,
} from '../../src/ipam/index.js'

const nobody: PortContext = { held: [], listenerAt: () => undefined }
const { first, last } = dynamicPorts

function held(port: number, more: Partial<HeldPort> = {}): HeldPort {
  return { protocol: 'tcp', port, owner: 'service "db" of project "shop"', ...more }
}

function tcp(port?: number, address?: string): PortWish {
  return {
    protocol: 'tcp',
    ...(port !== undefined && { port }),
    ...(address !== undefined && { address }),
  }
}

function isOverlapping(a: PortWish, b: PortWish): boolean {
  const isSame = a.address === undefined || b.address === undefined || a.address === b.address
  return a.protocol === b.protocol && a.port === b.port && isSame
}

t.test('allocatePorts() gives a declared port, and the lowest free one where none is', async t => {
  const rows: readonly (readonly [string, readonly PortWish[], Partial<PortContext>, number[]])[] =
    [
      ['declared', [tcp(8080)], {}, [8080]],
      ['chosen', [tcp(), tcp()], {}, [first, first + 1]],
      ['declared first, whatever the order', [tcp(), tcp(first)], {}, [first + 1, first]],
      ['past what is held', [tcp()], { held: [held(first)] }, [first + 1]],
      [
        'past what a program listens at',
        [tcp()],
        { listenerAt: ({ port }) => (port < first + 3 ? 'nginx (pid 7)' : undefined) },
        [first + 3],
      ],
      [
        'protocols apart',
        [tcp(53), { protocol: 'udp', port: 53 }, { protocol: 'udp' }],
        { held: [held(first)] },
        [53, 53, first],
      ],
      ['addresses apart', [tcp(80, '127.0.0.1'), tcp(80, '::1')], {}, [80, 80]],
      [
        'an address beside another’s',
        [tcp(80, '127.0.0.1')],
        { held: [held(80, { address: '127.0.0.2' })] },
        [80],
      ],
    ]
  for (const [name, wishes, context, wanted] of rows) {
    t.strictSame(allocatePorts('service "web"', wishes, { ...nobody, ...context }), wanted, name)
  }
})

t.test('allocatePorts() names who has a declared port', async t => {
  const rows: readonly (readonly [string, readonly PortWish[], Partial<PortContext>, string])[] = [
    [
      'another service',
      [tcp(80)],
      { held: [held(80)] },
      'Cannot publish port 80/tcp for service "web": service "db" of project "shop" has it; publish another port or end that one',
    ],
    [
      'every address against one',
      [tcp(80)],
      { held: [held(80, { address: '127.0.0.1' })] },
      'Cannot publish port 80/tcp for service "web": service "db" of project "shop" has it; publish another port or end that one',
    ],
    [
      'one address against every',
      [tcp(80, '127.0.0.1')],
      { held: [held(80)] },
      'Cannot publish port 80/tcp at 127.0.0.1 for service "web": service "db" of project "shop" has it; publish another port or end that one',
    ],
    [
      'a program',
      [tcp(80)],
      { listenerAt: ({ port }) => (port === 80 ? 'nginx (pid 7)' : undefined) },
      'Cannot publish port 80/tcp for service "web": nginx (pid 7) has it; publish another port or end that one',
    ],
    [
      'itself, twice',
      [tcp(80), tcp(80, '127.0.0.1')],
      {},
      'Cannot publish port 80/tcp at 127.0.0.1 for service "web": service "web" has it; publish another port or end that one',
    ],
  ]
  for (const [name, wishes, context, message] of rows) {
    const allocate = (): number[] =>
      allocatePorts('service "web"', wishes, { ...nobody, ...context })
    t.throws(allocate, { code: 'PORT_IN_USE', message }, name)
  }
})

t.test('allocatePorts() says when the range is used up, and gives its last port', async t => {
  const all = Array.from({ length: last - first + 1 }, (_, i) => held(first + i))
  const allocate = (taken: readonly HeldPort[]): number[] =>
    allocatePorts('service "web"', [tcp()], { ...nobody, held: taken })
  t.strictSame(allocate(all.slice(0, -1)), [last])
  t.throws(() => allocate(all), {
    code: 'PORT_NONE_FREE',
    message: `Cannot publish a tcp port of service "web": all of ${first}-${last} are in use; name one to publish`,
  })
})

t.test('allocatePorts() never gives two owners one port at addresses that overlap', async () => {
  // Few ports and addresses, so that most wishes meet.
  const address = fc.constantFrom(undefined, '127.0.0.1', '127.0.0.2', '::1')
  const protocol = fc.constantFrom<HostPort['protocol'][]>('tcp', 'udp', 'sctp')
  const port = fc.constantFrom(80, 81, first, first + 1, first + 2)
  const record = fc
    .record({ protocol, port, address })
    .map(({ address: at, ...rest }) => ({ ...rest, ...(at !== undefined && { address: at }) }))
  const wish = fc
    .tuple(record, fc.boolean())
    .map(([{ port: declared, ...rest }, isDeclared]): PortWish =>
      isDeclared ? { ...rest, port: declared } : rest,
    )
  const lists = [fc.array(record, { maxLength: 6 }), fc.array(record, { maxLength: 3 })] as const
  fc.assert(
    fc.property(fc.array(wish, { maxLength: 8 }), ...lists, (wishes, taken, listening) => {
      const context: PortContext = {
        held: taken.map(one => ({ ...one, owner: 'another' })),
        listenerAt: wanted =>
          listening.some(one => isOverlapping(one, wanted)) ? 'a program' : undefined,
      }
      let ports: number[]
      try {
        ports = allocatePorts('mine', wishes, context)
      } catch (error) {
        // Refused only where a declared one meets somebody.
        if (!(error instanceof PortError)) throw error
        const declared = wishes.filter(one => one.port !== undefined)
        return declared.some((one, i) =>
          [...taken, ...listening, ...declared.slice(0, i)].some(other =>
            isOverlapping(one, other),
          ),
        )
      }
      const given = wishes.map((one, i) => ({ ...one, port: ports[i] ?? 0 }))
      return given.every((one, i) => {
        const isWished = wishes[i]?.port === undefined || wishes[i].port === one.port
        const isInRange = wishes[i]?.port !== undefined || (one.port >= first && one.port <= last)
        const others = [...taken, ...listening, ...given.slice(0, i)]
        return isWished && isInRange && !others.some(other => isOverlapping(one, other))
      })
    }),
    { numRuns: 500 },
  )
})
