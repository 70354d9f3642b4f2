import fc from 'fast-check'
import t from 'tap'
import type { AllocatedPort, Allocation } from '../../src/catalog/allocation.js'
import type { Snapshot } from '../../src/catalog/catalog.js'
import type { Network } from '../../src/catalog/network.js'
import type { PortSpec, ServiceSpec } from '../../src/catalog/service.js'
import { lostVips, planAllocations, type PlannedAllocations } from '../../src/daemon/allocations.js'
import {
  allocation,
  attachment,
  containerSpec,
  network,
  project,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1)
const back = network('back', 2)
const mute = network('mute', 3, { labels: { 'portolan.dns': 'off' } })
const networks = [front, back, mute]

/** Leases .200, .201 and so on of each network, and keeps a list of who asked. */
function leaser() {
  const asked: string[] = []
  const leaseVip = (owner: string, on: Network) => {
    asked.push(`${owner} on ${on.name}`)
    return { ipv4: `${on.subnets[0]?.subnet.replace('0/24', `${199 + asked.length}/24`)}` }
  }
  return { asked, draft: { leaseVip } }
}

interface Setting {
  readonly known?: readonly Allocation[]
  readonly listenerAt?: (port: { readonly port: number }) => string | undefined
}

function plan(
  services: readonly ServiceSpec[],
  { known = [], listenerAt = () => undefined }: Setting = {},
): PlannedAllocations & { readonly asked: readonly string[] } {
  const snapshot: Snapshot = snapshotOf({ networks, allocations: known })
  const { asked, draft } = leaser()
  const find = (name: string): Network => {
    const found = networks.find(one => one.name === name)
    if (found === undefined) throw new Error(`no network ${name}`)
    return found
  }
  return {
    ...planAllocations(project('shop', services), { snapshot, draft, find, listenerAt }),
    asked,
  }
}

function port(target: number, published?: number, more: Partial<PortSpec> = {}): PortSpec {
  return {
    target,
    ...(published !== undefined && { published }),
    isPublished: true,
    protocol: 'tcp',
    mode: 'ingress',
    ...more,
  }
}

function given(published: number, target: number, more: Partial<AllocatedPort> = {}) {
  return { ...port(target, published), published, isPublished: true, ...more } as const
}

function web(more: Partial<ServiceSpec> = {}): ServiceSpec {
  return service('web', { endpointMode: 'vip', attachments: [attachment('front')], ...more })
}

function publishedOf({ put }: PlannedAllocations): Record<string, number[]> {
  return Object.fromEntries(
    put.map(({ service: name, ports }) => [name, ports.map(({ published }) => published)]),
  )
}

t.test('planAllocations() gives a virtual address on each network that has names', async t => {
  const rows: readonly (readonly [string, Partial<ServiceSpec>, readonly string[]])[] = [
    ['one', {}, ['front']],
    ['each', { attachments: ['front', 'back'].map(name => attachment(name)) }, ['front', 'back']],
    ['none without names', { attachments: [attachment('mute')] }, []],
    ['none by round robin', { endpointMode: 'dnsrr' }, []],
    ['none on none', { attachments: [] }, []],
    ['none of the host', { container: containerSpec({ networkMode: { kind: 'host' } }) }, []],
    ['also without a replica', { replicas: 0 }, ['front']],
  ]
  for (const [name, more, wanted] of rows) {
    const { put, asked } = plan([web(more)])
    const ids = networks.filter(one => wanted.includes(one.name)).map(({ id }) => id)
    t.strictSame(Object.keys(put[0]?.vips ?? {}), ids, name)
    t.strictSame(
      asked,
      wanted.map(one => `service "web" of project "shop" on ${one}`),
      name,
    )
  }
})

t.test('planAllocations() keeps what a service has', async t => {
  const known = allocation('shop', 'web', {
    mark: 9,
    vips: { [front.id]: { ipv4: '10.0.1.5/24' } },
    ports: [given(30_007, 80)],
  })
  const both = ['front', 'back'].map(name => attachment(name))
  const { put, asked, remove } = plan([web({ attachments: both, ports: [port(80), port(81)] })], {
    known: [known],
  })
  t.strictSame(put, [
    {
      ...known,
      vips: { ...known.vips, [back.id]: { ipv4: '10.0.2.200/24' } },
      ports: [given(30_007, 80), given(30_000, 81)],
    },
  ])
  t.strictSame(asked, ['service "web" of project "shop" on back'])
  t.strictSame(remove, [])
})

t.test('planAllocations() gives up what is not wanted any more', async t => {
  const known = allocation('shop', 'web', {
    vips: { [front.id]: { ipv4: '10.0.1.5/24' }, [back.id]: { ipv4: '10.0.2.5/24' } },
    ports: [given(8080, 80)],
  })
  const gone = allocation('shop', 'gone', { mark: 2 })
  const other = allocation('bank', 'gone', { mark: 3 })
  const { put, remove } = plan([web({ ports: [] })], { known: [known, gone, other] })
  t.strictSame(put[0]?.ports, [])
  t.strictSame(remove, [gone])
  t.strictSame(lostVips(known, put[0]).vips, { [back.id]: { ipv4: '10.0.2.5/24' } })
  t.strictSame(lostVips(known, undefined).vips, known.vips)
})

t.test('planAllocations() gives declared ports before it chooses, whatever the order', async t => {
  const chooses = service('chooses', { ports: [port(80)] })
  const declares = service('declares', { ports: [port(80, 30_000)] })
  const wanted = { chooses: [30_001], declares: [30_000] }
  t.strictSame(publishedOf(plan([chooses, declares])), wanted)
  t.strictSame(publishedOf(plan([declares, chooses])), wanted)
  const known = [allocation('shop', 'chooses', { ports: [given(30_000, 80)] })]
  t.strictSame(publishedOf(plan([chooses, declares], { known })), wanted, 'also a kept one')
})

t.test('planAllocations() lets services of one file exchange their ports', async t => {
  const known = [
    allocation('shop', 'a', { mark: 1, ports: [given(8001, 80)] }),
    allocation('shop', 'b', { mark: 2, ports: [given(8002, 80)] }),
  ]
  const services = [
    service('a', { ports: [port(80, 8002)] }),
    service('b', { ports: [port(80, 8001)] }),
  ]
  // A dataplane of ours may listen at both.
  const listenerAt = ({ port: at }: { port: number }): string | undefined =>
    at === 8001 || at === 8002 ? 'node (pid 1)' : undefined
  t.strictSame(publishedOf(plan(services, { known, listenerAt })), { a: [8002], b: [8001] })
})

t.test('planAllocations() names who has a port, of another project or of the host', async t => {
  const known = [allocation('bank', 'teller', { ports: [given(8080, 80)] })]
  const wish = [web({ ports: [port(80, 8080)] })]
  const message = (holder: string): string =>
    `Cannot publish port 8080/tcp for service "web" of project "shop": ${holder} has it; publish another port or end that one`
  t.throws(() => plan(wish, { known }), {
    code: 'PORT_IN_USE',
    message: message('service "teller" of project "bank"'),
  })
  t.throws(() => plan(wish, { listenerAt: () => 'nginx (pid 7)' }), {
    code: 'PORT_IN_USE',
    message: message('nginx (pid 7)'),
  })
})

t.test('planAllocations() takes the unspecified addresses for every address', async t => {
  for (const hostAddress of ['0.0.0.0', '::']) {
    const { put } = plan([web({ ports: [port(80, 8080, { hostAddress })] })])
    t.strictSame(put[0]?.ports, [given(8080, 80)], hostAddress)
  }
  const { put } = plan([web({ ports: [port(80, 8080, { hostAddress: '127.0.0.1' })] })])
  t.strictSame(put[0]?.ports, [given(8080, 80, { hostAddress: '127.0.0.1' })])
})

t.test('planAllocations() chooses anew where a kept port was free at one address only', async t => {
  const known = [
    allocation('shop', 'web', { ports: [given(30_000, 80, { hostAddress: '127.0.0.1' })] }),
    allocation('bank', 'teller', { mark: 2, ports: [given(30_000, 80, { hostAddress: '::1' })] }),
  ]
  t.strictSame(publishedOf(plan([web({ ports: [port(80)] })], { known })), { web: [30_001] })
})

t.test('planAllocations() gives each replica a port of its own in mode host', async t => {
  const of = (replicas: number): ServiceSpec =>
    web({ replicas, ports: [port(80, undefined, { mode: 'host' })] })
  const first = plan([of(2)])
  const ports = first.put[0]?.ports ?? []
  t.strictSame(
    ports.map(({ published, replica, mark }) => [published, replica, mark]),
    [
      [30_000, 1, 2],
      [30_001, 2, 3],
    ],
  )
  const more = plan([of(3)], { known: first.put }).put[0]?.ports ?? []
  t.strictSame(more.slice(0, 2), ports, 'those there are keep theirs')
  t.strictSame([more[2]?.published, more[2]?.mark], [30_002, 4])
})

t.test('planAllocations() refuses a declared port in mode host for several replicas', async t => {
  const of = (replicas: number): ServiceSpec =>
    web({ replicas, ports: [port(80, 8080, { mode: 'host' })] })
  t.throws(() => plan([of(2)]), {
    code: 'CATALOG_REFUSED',
    message:
      'Cannot publish port 8080/tcp of service "web" in mode host: 2 replicas on one node cannot share it; use mode ingress or leave the published port out',
  })
  t.strictSame(publishedOf(plan([of(1)])), { web: [8080] })
  t.strictSame(publishedOf(plan([of(0)])), { web: [] })
})

t.test('planAllocations() publishes nothing of what has no network of its own', async t => {
  const container = containerSpec({ networkMode: { kind: 'host' } })
  const { put } = plan([web({ container, ports: [port(80, 8080)] })])
  t.strictSame(put[0]?.ports, [])
})

t.test('planAllocations() goes round to 1 after the last mark, past those in use', async t => {
  const known = [allocation('bank', 'a', { mark: 0xfffff }), allocation('bank', 'b', { mark: 1 })]
  t.equal(plan([web()], { known }).put[0]?.mark, 2)
})

t.test('planAllocations() gives no mark and no port twice, whatever was there before', async t => {
  const wish = fc.record({
    replicas: fc.integer({ min: 0, max: 3 }),
    ports: fc.array(
      fc.record({ target: fc.constantFrom(80, 81), mode: fc.constantFrom('ingress', 'host') }),
      { maxLength: 3 },
    ),
  })
  const file = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), wish)
  fc.assert(
    fc.property(fc.array(file, { maxLength: 6 }), files => {
      let known: readonly Allocation[] = [
        allocation('bank', 'teller', { mark: 4, ports: [given(30_001, 80)] }),
      ]
      for (const one of files) {
        const services = Object.entries(one).map(([name, { replicas, ports }]) =>
          service(name, {
            replicas,
            ports: ports.map(({ target, mode }) =>
              port(target, undefined, { mode: mode === 'host' ? 'host' : 'ingress' }),
            ),
          }),
        )
        const before = new Map(known.map(({ key, mark }) => [key, mark]))
        const { put, remove } = plan(services, { known })
        known = [
          ...known.filter(({ key }) => [...put, ...remove].every(other => other.key !== key)),
          ...put,
        ]
        for (const { key, mark } of put) t.equal(before.get(key) ?? mark, mark, 'a mark is kept')
        const marks = known.flatMap(({ mark, ports }) => [
          mark,
          ...ports.flatMap(p => p.mark ?? []),
        ])
        const ports = known.flatMap(one => one.ports.map(({ published }) => published))
        t.equal(new Set(marks).size, marks.length, `marks ${marks.join()}`)
        t.equal(new Set(ports).size, ports.length, `ports ${ports.join()}`)
      }
    }),
    { numRuns: 200 },
  )
})
