import type { Test } from 'tap'
import t from 'tap'
import { NftablesDataplane } from '../../../mesh/dataplane/nftables/nftables.js'
import type { MeshState, VirtualService } from '../../../mesh/state.js'
import { openPoller } from '../../../resolver/listen/poller.js'
import { dataplaneContract } from '../../contract/dataplane.js'
import { asRoot, reaches, run } from '../../drivers/lab.js'
import { askTcp } from '../../lab/mesh-client.js'
import { CLIENT, HOST, openMeshHost, PLACE, type MeshHost } from '../../lab/mesh-host.js'

const TABLE = 'portolan_mesh'
const poller = openPoller()
t.teardown(() => poller.close())

t.test('NftablesDataplane', asRoot, async t => {
  dataplaneContract(t, {
    name: 'nftables',
    capabilities: {
      keepsClientAddress: true,
      livesInKernel: true,
      refused: { scheduler: 'lc' },
    },
    open: place => NftablesDataplane.open({ place, table: TABLE, poller }),
  })
})

function service(n: number, changes: Partial<VirtualService> = {}): VirtualService {
  return {
    ...{ key: `web${n}`, name: `shop/web${n}`, mark: n + 1, scheduler: 'rr' },
    ports: [{ protocol: 'tcp', first: 8080 + n, last: 8080 + n }],
    affinity: { kind: 'none' },
    destinations: [],
    ...changes,
  }
}

function stateOf(...services: readonly VirtualService[]): MeshState {
  return new Map(services.map(one => [one.key, one]))
}

async function openServed(
  t: Test,
  tasks = 2,
): Promise<MeshHost & { dataplane: NftablesDataplane }> {
  const lab = await openMeshHost(t, tasks)
  const dataplane = lab.at(() => NftablesDataplane.open({ place: PLACE, table: TABLE, poller }))
  t.teardown(() => dataplane.close())
  const destinations = lab.tasks.slice(0, 1).map(task => task.destination())
  await dataplane.apply(stateOf(service(0, { destinations })))
  return { ...lab, dataplane }
}

t.test("others' masquerading does not hide the client", asRoot, async t => {
  const { host, client, tasks } = await openServed(t)
  const rule = 'type nat hook postrouting priority srcnat; policy accept; masquerade'
  run(host, 'nft', `table inet others { chain c { ${rule}; }; }`)
  t.match(await askTcp(client, { address: HOST.v4, port: 8080 }), { peer: CLIENT.v4 })
  const [, second] = tasks
  if (second === undefined) throw new Error('two tasks are needed')
  const answer = await askTcp(second.netns, { address: HOST.v6, port: 8080 })
  t.match(answer, { peer: second.ipv6 })
})

t.test('no packet leaves with the mark of a service', asRoot, async t => {
  const { host, client } = await openServed(t)
  // Others have marks of their own: the kernel's multicast reports carry some.
  const hook = 'type filter hook postrouting priority 400; policy accept;'
  run(
    host,
    'nft',
    `table inet others { chain c { ${hook} meta mark and 0xfff00000 == 0x50000000 counter; }; }`,
  )
  t.match(await askTcp(client, { address: HOST.v4, port: 8080 }), { task: 'task0' })
  t.match(await askTcp(host, { address: HOST.v4, port: 8080 }), { task: 'task0' })
  t.match(run(host, 'nft', 'list table inet others'), 'packets 0')
})

t.test(
  "a task gets to neither the host's loopback nor the host by its ingress",
  asRoot,
  async t => {
    const { host, tasks } = await openServed(t, 1)
    const [task] = tasks
    if (task === undefined) throw new Error('no task')
    const ip = (...args: readonly string[]): string => run(task.netns, 'ip', ...args)
    run(task.netns, 'sysctl', '-qw', 'net.ipv4.conf.ingress0.route_localnet=1')
    ip('route', 'del', 'local', '127.0.0.0/8', 'dev', 'lo', 'table', 'local')
    ip('route', 'add', '127.0.0.9', 'via', '10.99.0.1', 'dev', 'ingress0', 'src', '10.99.0.10')
    t.notOk(reaches(task.netns, '127.0.0.9'))
    t.notOk(reaches(task.netns, '10.99.0.1'))
    for (const chain of ['raw', 'guard']) run(host, 'nft', `flush chain inet ${TABLE} ${chain}`)
    t.ok(reaches(task.netns, '127.0.0.9'), 'which it would without our rules')
  },
)

t.test('apply() refuses one port for two services, and leaves the first', asRoot, async t => {
  const { client, dataplane, tasks } = await openServed(t)
  const [first, second] = tasks.map(task => task.destination())
  if (first === undefined || second === undefined) throw new Error('two tasks are needed')
  const web = service(0, { destinations: [first] })
  const other = service(1, { ports: web.ports, destinations: [second] })
  await t.rejects(dataplane.apply(stateOf(web, other)), { code: 'MESH_BAD_SERVICE' })
  t.match(await askTcp(client, { address: HOST.v4, port: 8080 }), { task: 'task0' })
  await dataplane.apply(stateOf(service(0), service(1, { destinations: [second] })))
  t.match(await askTcp(client, { address: HOST.v4, port: 8081 }), { task: 'task1' })
})

t.test('thousands of services load, and one change of them is quick', asRoot, async t => {
  const { dataplane } = await openServed(t, 0)
  let told = 0
  dataplane.onTampered(() => told++)
  const many = (n: number, count: number): VirtualService =>
    service(n, {
      destinations: Array.from({ length: count }, (_, i) => ({
        ...{ id: `d${i}`, ipv4: `10.${100 + (n >> 8)}.${n & 255}.${i + 1}`, weight: 1 },
        ownAddresses: [],
      })),
    })
  const state = stateOf(...Array.from({ length: 3_000 }, (_, n) => many(n, 4)))
  await dataplane.apply(state)
  const key = 'web7'
  // The first one makes the chain for three slots.
  await dataplane.apply(new Map([...state, [key, many(7, 3)]]), new Set([key]))
  const times: number[] = []
  for (let i = 0; i < 21; i++) {
    const next = new Map([...state, [key, many(7, 4 - (i % 2))]])
    const startedAt = performance.now()
    await dataplane.apply(next, new Set([key]))
    times.push(performance.now() - startedAt)
  }
  // The best of them: the machine may be busy with others.
  t.ok(Math.min(...times) < 10, `${Math.min(...times)} ms`)
  t.equal(await dataplane.reconcile(state), 0)
  t.equal(told, 0, 'our own changes are no news')
})
