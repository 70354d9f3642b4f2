import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { promisify } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { attribute, parseAttributes } from '../../src/kernel/attribute.js'
import { conntrackUsage, listFlows, removeFlows } from '../../src/kernel/conntrack.js'
import { composeRemoval, parseFlow } from '../../src/kernel/ctnetlink.js'
import { type Flow, type FlowFilter } from '../../src/kernel/flow.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import { runNft } from '../../src/kernel/nft.js'
import { openTcpListener, openUdpSocket, unboundUdp } from '../../src/kernel/socket.js'
import { writeSysctl } from '../../src/kernel/sysctl.js'
import { asRoot, run } from '../drivers/lab.js'

const CLIENT = '203.0.113.7'
const NODE = '203.0.113.1'
const REPLICAS = ['10.0.1.5', '10.0.1.6'] as const

/** A rule that makes the kernel track what goes out. */
const WATCH = `table inet watch {
  chain out {
    type filter hook output priority 0;
    ct state new accept
  }
}`

/** A namespace where `conntrack`, as one who is not our code, writes and reads entries. */
function openTable(t: Test): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

interface Entry {
  readonly protocol?: string
  readonly clientPort: number
  readonly replica?: string
  readonly words?: readonly string[]
}

/** A published port 8080 of the node that leads to port 80 of a replica, or to nowhere. */
function enter(netns: Netns, { protocol = 'udp', clientPort, replica, words = [] }: Entry): void {
  const original = ['-s', CLIENT, '-d', NODE, '--sport', `${clientPort}`, '--dport', '8080']
  const reply = replica === undefined ? [] : ['--dst-nat', `${replica}:80`]
  const state = protocol === 'tcp' ? ['--state', 'ESTABLISHED'] : []
  const all = [...original, ...reply, ...state, ...words]
  run(netns, 'conntrack', '-I', '-p', protocol, '-t', '120', ...all)
}

/** What `conntrack -L` says, one line an entry. */
function lines(netns: Netns, ...words: readonly string[]): readonly string[] {
  return run(netns, 'conntrack', '-L', ...words)
    .split('\n')
    .filter(line => line !== '')
}

function flowsOf(netns: Netns, filter?: FlowFilter): readonly Flow[] {
  return runInNetns(netns, () => listFlows(filter))
}

function clientPorts(flows: readonly Flow[]): readonly number[] {
  return flows.map(flow => flow.original.sourcePort).sort((a, b) => a - b)
}

t.test('listFlows() tells a translated flow as conntrack wrote it', asRoot, async t => {
  const netns = openTable(t)
  enter(netns, {
    protocol: 'tcp',
    clientPort: 40001,
    replica: REPLICAS[0],
    words: ['--mark', '0x1002'],
  })
  t.match(flowsOf(netns), [
    {
      family: 4,
      protocol: 'tcp',
      original: { source: CLIENT, destination: NODE, sourcePort: 40001, destinationPort: 8080 },
      reply: { source: REPLICAS[0], destination: CLIENT, sourcePort: 80, destinationPort: 40001 },
      tcpState: 'established',
      mark: 0x1002,
      zone: 0,
      isAssured: false,
      isDestinationNat: true,
      isSourceNat: false,
      originalCounters: undefined,
    },
  ])
  const [flow] = flowsOf(netns)
  t.ok(flow?.timeoutSeconds !== undefined && flow.timeoutSeconds > 100)
  t.match(lines(netns, '-o', 'id')[0], `id=${flow?.id}`)
})

t.test('listFlows() tells that a flow is assured', asRoot, async t => {
  const netns = openTable(t)
  enter(netns, { clientPort: 1, words: ['--status', 'SEEN_REPLY,ASSURED'] })
  t.match(flowsOf(netns), [{ hasReply: true, isAssured: true, isDestinationNat: false }])
})

t.test('listFlows() reads both families and protocols without ports', asRoot, async t => {
  const netns = openTable(t)
  run(netns, 'conntrack', ...'-I -p udp -t 60 -s 2001:db8::7 -d 2001:db8::1'.split(' '), ...v6Ports)
  run(netns, 'conntrack', ...'-I -p icmp -t 60 -s 10.0.1.1 -d 10.0.1.2'.split(' '), ...icmp)
  run(netns, 'conntrack', ...'-I -p gre -t 60 -s 10.0.1.1 -d 10.0.1.2'.split(' '), ...gre)
  const flows = [...flowsOf(netns)].sort((a, b) => `${a.protocol}`.localeCompare(`${b.protocol}`))
  t.match(flows, [
    { family: 4, protocol: 47 },
    { family: 4, protocol: 'icmp', original: { sourcePort: 0 } },
    { family: 6, protocol: 'udp', original: { source: '2001:db8::7', destinationPort: 53 } },
  ])
  t.equal(flowsOf(netns, { family: 6 }).length, 1)
  t.equal(flowsOf(netns, { protocol: 'icmp' }).length, 1)
  t.equal(flowsOf(netns, { reply: { source: '2001:db8:0::1' } }).length, 1, 'IPv6, spelt otherwise')
  t.equal(flowsOf(netns, { reply: { source: '2001:db8::2' } }).length, 0)
  t.equal(flowsOf(netns, { family: 4, reply: { source: '2001:db8::1' } }).length, 0, 'a paradox')
  t.equal(flowsOf(netns, { protocol: 'icmp', original: { sourcePort: 0 } }).length, 1)
  t.equal(flowsOf(netns, { protocol: 'udp', original: { destinationPort: 53 } }).length, 1)
})
const v6Ports = ['--sport', '5000', '--dport', '53']
const icmp = ['--icmp-type', '8', '--icmp-code', '0', '--icmp-id', '9']
const gre = ['--srckey', '1', '--dstkey', '2']

const filters: readonly (readonly [string, FlowFilter, readonly number[]])[] = [
  ['everything', {}, [1, 2, 3, 4]],
  ['by protocol', { protocol: 'udp' }, [1, 2, 4]],
  ['by who serves', { protocol: 'udp', reply: { source: REPLICAS[0] } }, [1]],
  ['by who serves, any protocol', { reply: { source: REPLICAS[1] } }, [2, 3]],
  ['by port', { protocol: 'udp', original: { destinationPort: 8080, sourcePort: 2 } }, [2]],
  ['by port, any protocol', { reply: { sourcePort: 80 } }, [1, 2, 3]],
  ['by mark', { mark: { value: 0x1002 } }, [3]],
  ['by part of a mark', { mark: { value: 0x1000, mask: 0xf000 } }, [2, 3]],
  ['untranslated', { protocol: 'udp', isDestinationNat: false }, [4]],
  ['by zone', { zone: 7 }, [4]],
]
for (const [name, filter, expected] of filters) {
  t.test(`listFlows() answers a filter ${name}`, asRoot, async t => {
    const netns = openTable(t)
    enter(netns, { clientPort: 1, replica: REPLICAS[0] })
    enter(netns, { clientPort: 2, replica: REPLICAS[1], words: ['--mark', '0x1001'] })
    const words = ['--mark', '0x1002']
    enter(netns, { clientPort: 3, replica: REPLICAS[1], protocol: 'tcp', words })
    enter(netns, { clientPort: 4, words: ['--zone', '7'] })
    t.strictSame(clientPorts(flowsOf(netns, filter)), expected)
  })
}

t.test('removeFlows() removes what a draining replica serves, and no more', asRoot, async t => {
  const netns = openTable(t)
  enter(netns, { clientPort: 1, replica: REPLICAS[0] })
  enter(netns, { clientPort: 2, replica: REPLICAS[1] })
  enter(netns, { clientPort: 3, replica: REPLICAS[0], protocol: 'tcp' })
  const draining: FlowFilter = { protocol: 'udp', reply: { source: REPLICAS[0] } }
  const drain = (): number => runInNetns(netns, () => removeFlows(draining))
  t.equal(drain(), 1)
  t.equal(drain(), 0)
  const left = lines(netns)
  t.equal(left.length, 2)
  t.notOk(left.some(line => line.startsWith('udp') && line.includes('sport=1 ')))
})

t.test(
  'removeFlows() heeds the predicate, and takes only the zone it was told',
  asRoot,
  async t => {
    const netns = openTable(t)
    const zones = ['--zone', '--orig-zone', '--reply-zone']
    for (const [n, zone] of zones.entries())
      enter(netns, { clientPort: 1, words: [zone, `${n + 1}`] })
    t.equal(
      runInNetns(netns, () => removeFlows({}, flow => flow.zone === 2)),
      1,
      'a zone of one direction',
    )
    t.notOk(lines(netns).some(line => line.includes('zone-orig=2')))
    t.equal(
      runInNetns(netns, () => removeFlows({}, flow => flow.zone === 1)),
      1,
    )
    t.match(lines(netns), [/zone-reply=3/])
  },
)

/** Port 8080 leads to port 80 of `replica`, for what this namespace itself sends. */
function publish(netns: Netns, replica: string): void {
  runInNetns(netns, () =>
    runNft(`table ip published
delete table ip published
table ip published {
  chain output {
    type nat hook output priority -100;
    ip daddr 127.0.0.1 meta l4proto { tcp, udp } th dport 8080 dnat to ${replica}:80
  }
}`),
  )
}

t.test('removeFlows() moves a UDP flow to the replica that the rules name now', asRoot, async t => {
  const netns = openTable(t)
  const received: string[] = []
  for (const address of ['127.0.0.2', '127.0.0.3']) {
    const server = createSocket('udp4')
    t.teardown(() => server.close())
    server.bind({ fd: runInNetns(netns, () => openUdpSocket({ address, port: 80 })).fd })
    server.on('message', (_message, from) => server.send(address, from.port, from.address))
  }
  const client = createSocket('udp4')
  t.teardown(() => client.close())
  client.bind({ fd: runInNetns(netns, () => unboundUdp(4)) })
  const ask = async (): Promise<void> => {
    client.send('who', 8080, '127.0.0.1')
    const [answer] = (await once(client, 'message')) as [Buffer]
    received.push(answer.toString())
  }
  publish(netns, '127.0.0.2')
  await ask()
  publish(netns, '127.0.0.3')
  await ask()
  const draining: FlowFilter = { protocol: 'udp', reply: { source: '127.0.0.2' } }
  t.equal(
    runInNetns(netns, () => removeFlows(draining)),
    1,
  )
  await ask()
  t.strictSame(received, ['127.0.0.2', '127.0.0.2', '127.0.0.3'])
})

t.test('removeFlows() has a TCP flow reset whose replica is no longer served', asRoot, async t => {
  const netns = openTable(t)
  const place = { address: '127.0.0.2', port: 80, backlog: 8 }
  const server = createServer(socket => socket.on('error', () => undefined))
  server.listen({ fd: runInNetns(netns, () => openTcpListener(place)).fd })
  publish(netns, '127.0.0.2')
  const accepted = once(server, 'connection')
  // Speaks when it is told to, and ends when it is cut off.
  const script = 'exec 3<>/dev/tcp/127.0.0.1/8080; echo up; read; echo x >&3; cat <&3'
  const client = runInNetns(netns, () =>
    spawn('bash', ['-c', script], { stdio: ['pipe', 'pipe', 'ignore'] }),
  )
  const exit = once(client, 'exit')
  const [socket] = (await accepted) as [Socket]
  t.teardown(() => {
    client.kill('SIGKILL')
    socket.destroy()
    server.close()
  })
  await once(client.stdout, 'data')
  publish(netns, '127.0.0.3')
  t.equal(
    runInNetns(netns, () => removeFlows({ protocol: 'tcp', reply: { source: '127.0.0.2' } })),
    1,
  )
  client.stdin.end('\n')
  const [code] = (await exit) as [number]
  t.not(code, 0, 'a reset, not an end')
})

t.test('removeFlows() takes a flow that ended meanwhile for no error', asRoot, async t => {
  const netns = openTable(t)
  for (const clientPort of [1, 2, 3]) enter(netns, { clientPort })
  const removed = runInNetns(netns, () =>
    removeFlows({}, flow => {
      // It may talk to the kernel itself.
      listFlows()
      if (flow.original.sourcePort === 2) run(netns, 'conntrack', '-D', '-p', 'udp', '--sport', '2')
      return true
    }),
  )
  t.equal(removed, 2)
  t.strictSame(lines(netns), [])
})

t.test('composeRemoval() names the entry by tuple, zone and id, and nothing else', async t => {
  const part = (type: number): Buffer => attribute(type, Buffer.from([0, 0, 0, type]))
  const message = Buffer.concat([Buffer.from([2, 0, 0, 0]), ...[1, 2, 3, 8, 12, 18].map(part)])
  const removal = composeRemoval(message) ?? Buffer.alloc(0)
  t.strictSame([...parseAttributes(removal.subarray(4)).keys()], [1, 12, 18])
  const withoutTuple = Buffer.concat([Buffer.from([2, 0, 0, 0]), part(12)])
  t.equal(composeRemoval(withoutTuple), undefined, 'the kernel would remove everything')
})

t.test('listFlows() counts packets and bytes where the kernel does', asRoot, async t => {
  const netns = openTable(t)
  runInNetns(netns, () => {
    writeSysctl('net.netfilter.nf_conntrack_acct', '1')
    runNft(WATCH)
  })
  run(netns, 'bash', '-c', 'echo -n hello > /dev/udp/127.0.0.1/9')
  const [flow] = flowsOf(netns, { protocol: 'udp' })
  t.strictSame(flow?.originalCounters, { packets: 1, bytes: 20 + 8 + 5 })
  const usage = runInNetns(netns, () => conntrackUsage())
  t.ok(usage !== undefined && usage.count >= 1 && usage.max > usage.count)
})

t.test('a table of 20,000 flows is read and emptied whole, and soon', asRoot, async t => {
  const netns = openTable(t)
  runInNetns(netns, () => runNft(WATCH))
  const count = 20_000
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  socket.bind({ fd: runInNetns(netns, () => unboundUdp(4)) })
  const send = promisify((port: number, done: (error: Error | null) => void) =>
    socket.send('x', port, '127.0.0.2', done),
  )
  for (let port = 1; port <= count; port++) await send(port)
  const startedAt = performance.now()
  t.equal(flowsOf(netns, { protocol: 'udp' }).length, count)
  const readAt = performance.now()
  t.equal(
    runInNetns(netns, () => removeFlows({ protocol: 'udp' })),
    count,
  )
  const endedAt = performance.now()
  const [read, removed] = [readAt - startedAt, endedAt - readAt].map(Math.round)
  t.comment(`read in ${read} ms, removed in ${removed} ms`)
  t.ok(endedAt - startedAt < 10_000)
  t.strictSame(flowsOf(netns, { protocol: 'udp' }), [])
})

t.test('parseFlow() and composeRemoval() take any bytes', async () => {
  const flow = (bytes: Uint8Array): unknown => {
    const message = Buffer.from(bytes)
    composeRemoval(message)
    return parseFlow(message)
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), bytes => void flow(bytes)))
  const framed = fc.array(
    fc.tuple(fc.integer({ min: 0, max: 30 }), fc.uint8Array({ maxLength: 60 })),
  )
  fc.assert(
    fc.property(framed, attributes => {
      const parts = attributes.map(([type, data]) => attribute(type, data))
      flow(Buffer.concat([Buffer.from([2, 0, 0, 0]), ...parts]))
    }),
  )
})
