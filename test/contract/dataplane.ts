/** What every dataplane keeps to, seen from clients and tasks. Run by each implementation's own test. */

import type { Test } from 'tap'
import { closeNetns, createNetns, runInNetns } from '../../src/kernel/netns.js'
import type { Dataplane } from '../../mesh/dataplane/dataplane.js'
import {
  emptyState,
  type IngressPlace,
  type MeshState,
  type VirtualService,
} from '../../mesh/state.js'
import { run } from '../drivers/lab.js'
import { askTcp, askUntil, TcpTalk, UdpTalk, type At } from '../lab/mesh-client.js'
import { CLIENT, HOST, openMeshHost, PLACE, type Answer, type MeshHost } from '../lab/mesh-host.js'

/** What implementations may differ in. */
export interface DataplaneCapabilities {
  /** Tasks see the client's own address and port. */
  readonly keepsClientAddress: boolean
  /** What was programmed lives in the kernel: a later process adopts it, others can damage it. */
  readonly livesInKernel: boolean
  /** Refuses this service. */
  readonly refused?: Partial<VirtualService>
}

export interface DataplaneUnderTest {
  readonly name: string
  readonly capabilities: DataplaneCapabilities
  /** Called in the host's namespace. */
  open(place: IngressPlace): Dataplane | Promise<Dataplane>
}

type Ports = VirtualService['ports']

const tcp = (first: number, last = first): Ports[number] => ({ protocol: 'tcp', first, last })
const udp = (first: number, last = first): Ports[number] => ({ protocol: 'udp', first, last })
const both = (first: number, last = first): Ports => [tcp(first, last), udp(first, last)]
const taskOf = (answer: Answer | string): string =>
  typeof answer === 'string' ? answer : answer.task

/** A service with what the test says of it, and the rest as usual. */
function service(changes: Partial<VirtualService>): VirtualService {
  return {
    key: 'web',
    name: 'shop/web',
    mark: 7,
    ports: both(8080),
    scheduler: 'rr',
    affinity: { kind: 'none' },
    destinations: [],
    ...changes,
  }
}

function stateOf(...services: readonly VirtualService[]): MeshState {
  return new Map(services.map(one => [one.key, one]))
}

interface Bench extends MeshHost {
  readonly dataplane: Dataplane
  readonly capabilities: DataplaneCapabilities
  ask(at?: Partial<At>): Promise<Answer | string>
}

/** Adds the suite's tests below `t`. */
export function dataplaneContract(t: Test, kit: DataplaneUnderTest): void {
  const test = (title: string, body: (t: Test, bench: Bench) => Promise<void>): void => {
    t.test(`${kit.name}: ${title}`, async t => body(t, await bench))
  }
  const bench = openBench(t, kit)
  testIdentity(test)
  testShares(test)
  testPorts(test)
  testChange(test)
  testUdp(test)
  testKernel(test, kit)
}

async function openBench(t: Test, kit: DataplaneUnderTest): Promise<Bench> {
  const lab = await openMeshHost(t, 3)
  const dataplane = await lab.at(() => kit.open(PLACE))
  t.teardown(() => dataplane.remove())
  const ask = (at: Partial<At> = {}): Promise<Answer | string> =>
    askTcp(lab.client, { address: HOST.v4, port: 8080, ...at })
  return { ...lab, dataplane, capabilities: kit.capabilities, ask }
}

type Add = (title: string, body: (t: Test, bench: Bench) => Promise<void>) => void

function destinationsOf({ tasks }: MeshHost, count = 3, weights: readonly number[] = []) {
  return tasks.slice(0, count).map((task, i) => task.destination(weights[i] ?? 1))
}

function testIdentity(test: Add): void {
  const ways = [
    ['IPv4', HOST.v4, CLIENT.v4],
    ['IPv6', HOST.v6, CLIENT.v6],
  ] as const
  for (const [family, address, client] of ways) {
    test(`a client outside is answered over ${family}, as who it is`, async (t, bench) => {
      await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
      const localPort = family === 'IPv4' ? 45_001 : 45_002
      const answer = await bench.ask({ address, localPort })
      t.match(answer, { task: 'task0', target: 80 })
      if (bench.capabilities.keepsClientAddress)
        t.match(answer, { peer: client, peerPort: localPort })
      const talk = await UdpTalk.open(bench.client, { address, port: 8080 })
      t.teardown(() => talk.close())
      const reply = await talk.ask()
      t.match(reply, { task: 'task0', target: 80 })
      if (bench.capabilities.keepsClientAddress) t.match(reply, { peer: client })
    })
  }

  test('3 MB go both ways unchanged', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    const talk = await TcpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    t.teardown(() => talk.close())
    const sent = Buffer.alloc(3 << 20, 'portolan, and some more of it; ')
    t.ok((await talk.echo(sent)).equals(sent))
  })

  test('a program of the host is answered at every address of it', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    const own = await askTcp(bench.host, { address: HOST.v4, port: 8080 })
    t.match(own, { task: 'task0' })
    if (bench.capabilities.keepsClientAddress) t.match(own, { peer: HOST.v4 })
    t.match(await askTcp(bench.host, { address: HOST.v6, port: 8080 }), { task: 'task0' })
    t.match(await askTcp(bench.host, { address: '127.0.0.1', port: 8080 }), { task: 'task0' })
    t.match(await askTcp(bench.host, { address: '10.0.1.1', port: 8080 }), { task: 'task0' })
    const talk = await UdpTalk.open(bench.host, { address: '127.0.0.1', port: 8080 })
    t.teardown(() => talk.close())
    t.match(await talk.ask(), { task: 'task0' })
  })

  test('a task reaches itself and others through the host', async (t, bench) => {
    const [first, second] = bench.tasks
    if (first === undefined || second === undefined) throw new Error('two tasks are needed')
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    for (const address of [HOST.v4, HOST.v6]) {
      t.match(await askTcp(first.netns, { address, port: 8080 }), { task: 'task0' }, address)
      const other = await askTcp(second.netns, { address, port: 8080 })
      t.match(other, { task: 'task0' }, address)
      if (bench.capabilities.keepsClientAddress) {
        t.match(other, { peer: address === HOST.v4 ? second.ipv4 : second.ipv6 })
      }
    }
    const talk = await UdpTalk.open(first.netns, { address: HOST.v4, port: 8080 })
    t.teardown(() => talk.close())
    t.match(await talk.ask(), { task: 'task0' }, 'over UDP')
  })
}

function testShares(test: Add): void {
  const draw = async (bench: Bench, count: number): Promise<Map<string, number>> => {
    const counts = new Map<string, number>()
    for (let i = 0; i < count; i++) {
      const task = taskOf(await bench.ask())
      counts.set(task, (counts.get(task) ?? 0) + 1)
    }
    return counts
  }

  test('connections spread over all destinations', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench) })))
    const counts = await draw(bench, 150)
    t.strictSame([...counts.keys()].sort(), ['task0', 'task1', 'task2'])
    const square = [...counts.values()].reduce((sum, n) => sum + (n - 50) ** 2 / 50, 0)
    // Two degrees of freedom: beyond this one run in a hundred thousand.
    t.ok(square < 23.03, `chi-square ${square}`)
  })

  test('weights are shares', async (t, bench) => {
    const destinations = destinationsOf(bench, 2, [3, 1])
    await bench.dataplane.apply(stateOf(service({ scheduler: 'wrr', destinations })))
    const count = (await draw(bench, 200)).get('task0') ?? 0
    // Five standard deviations around 150.
    t.ok(count > 119 && count < 181, `${count} of 200`)
  })

  test('one client address meets one destination, others spread', async (t, bench) => {
    const affinity = { kind: 'client-ip', timeoutSeconds: 60 } as const
    await bench.dataplane.apply(stateOf(service({ affinity, destinations: destinationsOf(bench) })))
    const counts = await draw(bench, 20)
    if (!bench.capabilities.keepsClientAddress) return
    t.equal(counts.size, 1)
    const met = new Set<string>()
    for (let i = 0; i < CLIENT.others; i++) {
      met.add(taskOf(await bench.ask({ localAddress: `192.0.2.${100 + i}` })))
    }
    t.strictSame([...met].sort(), ['task0', 'task1', 'task2'])
  })

  test('a client whose destination goes moves once, others stay', async (t, bench) => {
    if (!bench.capabilities.keepsClientAddress) return
    const affinity = { kind: 'client-ip', timeoutSeconds: 60 } as const
    const addresses = Array.from({ length: CLIENT.others }, (_, i) => `192.0.2.${100 + i}`)
    const meet = async (): Promise<string[]> => {
      const tasks: string[] = []
      for (const localAddress of addresses) tasks.push(taskOf(await bench.ask({ localAddress })))
      return tasks
    }
    await bench.dataplane.apply(stateOf(service({ affinity, destinations: destinationsOf(bench) })))
    const before = await meet()
    await bench.dataplane.apply(
      stateOf(service({ affinity, destinations: destinationsOf(bench, 2) })),
    )
    const after = await meet()
    t.notOk(after.includes('task2'))
    const moved = before.filter((task, i) => task !== 'task2' && task !== after[i]).length
    t.ok(moved <= CLIENT.others / 5, `${moved} moved whose destination stayed`)
  })
}

function testPorts(test: Add): void {
  test('each published port leads to its own target', async (t, bench) => {
    const ports = [...both(8080), ...both(8081), ...both(9090)]
    await bench.dataplane.apply(stateOf(service({ ports, destinations: destinationsOf(bench, 1) })))
    t.match(await bench.ask({ port: 8080 }), { target: 80 })
    t.match(await bench.ask({ port: 8081 }), { target: 80 })
    t.match(await bench.ask({ port: 9090 }), { target: 81 })
  })

  test('one client port holds two published ports of one target at once', async (t, bench) => {
    const ports = [tcp(8080), tcp(8081)]
    await bench.dataplane.apply(stateOf(service({ ports, destinations: destinationsOf(bench, 1) })))
    const open = (port: number): Promise<TcpTalk> =>
      TcpTalk.open(bench.client, {
        ...{ address: HOST.v4, port, localAddress: CLIENT.v4, localPort: 46_001 },
      })
    const talks = [await open(8080), await open(8081)]
    t.teardown(() => talks.forEach(talk => talk.close()))
    for (let i = 0; i < 5; i++) {
      for (const talk of talks) t.equal(String(await talk.echo(`turn ${i}`)), `turn ${i}`)
    }
  })

  test('a range of ports leads to one target or to as many, and no further', async (t, bench) => {
    const ports = [tcp(7000, 7004), tcp(7100, 7102)]
    await bench.dataplane.apply(stateOf(service({ ports, destinations: destinationsOf(bench, 1) })))
    for (const port of [7000, 7002, 7004]) t.match(await bench.ask({ port }), { target: 80 })
    for (const [port, target] of [
      [7100, 80],
      [7101, 81],
      [7102, 82],
    ] as const) {
      t.match(await bench.ask({ port }), { target })
    }
    for (const port of [6999, 7005, 7103]) t.equal(await bench.ask({ port }), 'ECONNREFUSED')
  })

  test('a port of one address is not published at others', async (t, bench) => {
    const ports = [{ ...tcp(8080), address: HOST.second }]
    await bench.dataplane.apply(stateOf(service({ ports, destinations: destinationsOf(bench, 1) })))
    t.match(await bench.ask({ address: HOST.second }), { task: 'task0' })
    t.equal(await bench.ask({ address: HOST.v4 }), 'ECONNREFUSED')
    t.equal(await bench.ask({ address: HOST.v6 }), 'ECONNREFUSED')
  })

  test('a port of one address goes before the same of all', async (t, bench) => {
    const [first, second] = destinationsOf(bench, 2)
    if (first === undefined || second === undefined) throw new Error('two tasks are needed')
    const special = { ...tcp(8080), address: HOST.second }
    await bench.dataplane.apply(
      stateOf(
        service({ destinations: [first] }),
        service({ key: 'api', mark: 8, ports: [special], destinations: [second] }),
      ),
    )
    t.match(await bench.ask({ address: HOST.second }), { task: 'task1' })
    t.match(await bench.ask({ address: HOST.v4 }), { task: 'task0' })
  })
}

function testChange(test: Add): void {
  test('a destination that goes keeps its connections and gets no new one', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    const talk = await TcpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    t.teardown(() => talk.close())
    const destinations = destinationsOf(bench, 2).slice(1)
    await bench.dataplane.apply(stateOf(service({ destinations })), new Set(['web']))
    t.equal(String(await talk.echo('still there')), 'still there')
    for (let i = 0; i < 10; i++) t.match(await bench.ask(), { task: 'task1' })
    const stats = await bench.dataplane.stats()
    const gone = stats.find(one => one.destinationId === 'task0')
    t.equal(gone?.activeConnections, 1, 'it is counted while it lives')
    if (gone?.inBytes !== undefined) t.ok(gone.inBytes > 0n)
  })

  test('a service without destinations refuses at once, and serves with the first', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({})))
    const flow = await UdpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    const local = await UdpTalk.open(bench.host, { address: HOST.v4, port: 8080 })
    t.teardown(() => [flow, local].forEach(one => one.close()))
    for (const address of [HOST.v4, HOST.v6]) {
      const startedAt = performance.now()
      t.equal(await bench.ask({ address }), 'ECONNREFUSED', address)
      t.equal(await askTcp(bench.host, { address, port: 8080 }), 'ECONNREFUSED', `here, ${address}`)
      t.ok(performance.now() - startedAt < 1_000)
    }
    t.equal(await flow.ask(), 'ECONNREFUSED', 'over UDP')
    t.equal(await local.ask(), 'ECONNREFUSED', 'over UDP, here')
    const full = stateOf(service({ destinations: destinationsOf(bench, 1) }))
    await bench.dataplane.apply(full, new Set(['web']))
    t.match(await bench.ask(), { task: 'task0' })
    t.match(await flow.ask(), { task: 'task0' }, 'the flow that began before')
    t.match(await local.ask(), { task: 'task0' }, 'the one from here too')
  })

  test("a port that nobody publishes any more is the host's again", async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    t.match(await bench.ask(), { task: 'task0' })
    await bench.dataplane.apply(emptyState, new Set(['web']))
    t.equal(await bench.ask(), 'ECONNREFUSED')
  })

  test('two services exchange their ports and nobody meets the wrong one', async (t, bench) => {
    const [first, second] = destinationsOf(bench, 2)
    if (first === undefined || second === undefined) throw new Error('two tasks are needed')
    const pair = (a: number, b: number): MeshState =>
      stateOf(
        service({ ports: [tcp(a)], destinations: [first] }),
        service({ key: 'api', mark: 8, ports: [tcp(b)], destinations: [second] }),
      )
    const load = { isOver: false }
    const failures: string[] = []
    const ask = async (): Promise<void> => {
      while (!load.isOver) {
        const answers = await Promise.all([bench.ask({ port: 8080 }), bench.ask({ port: 9090 })])
        for (const one of answers) if (typeof one === 'string') failures.push(one)
      }
    }
    await bench.dataplane.apply(pair(8080, 9090))
    const loading = ask()
    for (let i = 0; i < 10; i++) {
      const [a, b] = i % 2 === 0 ? [9090, 8080] : [8080, 9090]
      await bench.dataplane.apply(pair(a, b), new Set(['web', 'api']))
      t.match(await bench.ask({ port: a }), { task: 'task0' })
      t.match(await bench.ask({ port: b }), { task: 'task1' })
    }
    load.isOver = true
    await loading
    t.strictSame(failures, [])
  })
}

function testUdp(test: Add): void {
  test('a UDP flow moves at once when its destination goes', async (t, bench) => {
    await bench.dataplane.apply(stateOf(service({ destinations: destinationsOf(bench, 1) })))
    const flow = await UdpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    t.teardown(() => flow.close())
    t.match(await flow.ask(), { task: 'task0' })
    const destinations = destinationsOf(bench, 2).slice(1)
    await bench.dataplane.apply(stateOf(service({ destinations })), new Set(['web']))
    const moved = await askUntil(
      () => flow.ask(),
      answer => taskOf(answer) === 'task1',
      500,
    )
    t.match(moved, { task: 'task1' })
  })
}

function testKernel(test: Add, kit: DataplaneUnderTest): void {
  test('what it cannot do it refuses with the reason', async (t, { dataplane, capabilities }) => {
    if (capabilities.refused === undefined) return
    const wanted = service(capabilities.refused)
    t.throws(() => dataplane.check(wanted), { code: 'MESH_UNSUPPORTED' })
    await t.rejects(dataplane.apply(stateOf(wanted)), { code: 'MESH_UNSUPPORTED' })
  })

  test('the second of two reconciles finds nothing', async (t, bench) => {
    const state = stateOf(service({ destinations: destinationsOf(bench) }))
    await bench.dataplane.reconcile(state)
    t.equal(await bench.dataplane.reconcile(state), 0)
  })

  test('trace() names every destination', async (t, bench) => {
    const wanted = service({ destinations: destinationsOf(bench, 2) })
    await bench.dataplane.apply(stateOf(wanted))
    const text = JSON.stringify(await bench.dataplane.trace(wanted))
    t.match(text, 'task0')
    t.match(text, 'task1')
    t.notMatch(text, 'task2')
  })

  if (!kit.capabilities.livesInKernel) return
  test('a later process adopts what it finds, and connections do not notice', async (t, bench) => {
    const state = stateOf(service({ destinations: destinationsOf(bench, 2) }))
    await bench.dataplane.reconcile(state)
    const talk = await TcpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    t.teardown(() => talk.close())
    const later = await bench.at(() => kit.open(PLACE))
    t.teardown(() => later.close())
    t.equal(await later.reconcile(state), 0)
    t.equal(String(await talk.echo('unmoved')), 'unmoved')
  })

  test('a flushed ruleset is told and mended, connections go on', async (t, bench) => {
    const state = stateOf(service({ destinations: destinationsOf(bench, 1) }))
    await bench.dataplane.reconcile(state)
    const talk = await TcpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    t.teardown(() => talk.close())
    const told = new Promise<void>(resolve => bench.dataplane.onTampered(resolve))
    run(bench.host, 'nft', 'add table inet alien')
    run(bench.host, 'nft', 'flush ruleset')
    run(bench.host, 'nft', 'add table inet alien')
    await told
    t.ok((await bench.dataplane.reconcile(state)) > 0)
    t.match(await bench.ask(), { task: 'task0' })
    t.equal(String(await talk.echo('still there')), 'still there')
    t.match(run(bench.host, 'nft', 'list tables'), 'table inet alien', 'others are left alone')
  })

  test('remove() leaves nothing', async t => {
    const netns = createNetns()
    t.teardown(() => closeNetns(netns))
    const list = (): string =>
      run(netns, 'nft', 'list ruleset') + run(netns, 'ip', 'rule') + run(netns, 'ip', 'link')
    // Without an address of its own it would take that of a port.
    run(netns, 'ip', 'link', 'add', PLACE.bridge, 'address', PLACE.host.mac, 'type', 'bridge')
    const before = list()
    const dataplane = await runInNetns(netns, () => kit.open(PLACE))
    await dataplane.apply(stateOf(service({})))
    await dataplane.remove()
    t.equal(list(), before)
  })
}
