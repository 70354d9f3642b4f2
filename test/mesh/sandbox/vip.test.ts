import t from 'tap'
import { reconcileVips, type SandboxVip, type WrittenVips } from '../../../mesh/sandbox/vip.js'
import { runInNetns } from '../../../src/kernel/netns.js'
import { asRoot, run } from '../../drivers/lab.js'
import { askTcp, askUntil, TcpTalk, UdpTalk } from '../../lab/mesh-client.js'
import { openMeshHost, type Task } from '../../lab/mesh-host.js'

const VIP = { v4: '10.0.1.200', v6: 'fd00:1::200' } as const

function vip(tasks: readonly Task[], changes: Partial<SandboxVip> = {}): SandboxVip {
  return {
    ...{ key: 'web', vip4: VIP.v4, vip6: VIP.v6, scheduler: 'rr', affinity: { kind: 'none' } },
    destinations: tasks.map(({ ipv4, ipv6 }) => ({ ipv4, ipv6, weight: 1 })),
    ...changes,
  }
}

interface Client {
  readonly client: Task
  readonly others: readonly Task[]
  /** Brings the client's sandbox to these, from what was written last. */
  put(...vips: readonly SandboxVip[]): boolean
}

async function openClient(t: Parameters<typeof openMeshHost>[0]): Promise<Client> {
  const { tasks } = await openMeshHost(t, 3)
  const [client, ...others] = tasks
  if (client === undefined) throw new Error('no task')
  let written: WrittenVips | undefined
  const put = (...vips: readonly SandboxVip[]): boolean => {
    const outcome = runInNetns(client.netns, () => reconcileVips(vips, written))
    written = outcome.written
    return outcome.isChanged
  }
  return { client, others, put }
}

t.test('a VIP leads to a destination at any port, from the client itself', asRoot, async t => {
  const { client, others, put } = await openClient(t)
  put(vip(others.slice(0, 1)))
  for (const [address, peer] of [
    [VIP.v4, client.ipv4],
    [VIP.v6, client.ipv6],
  ] as const) {
    for (const port of [80, 81]) {
      const answer = await askTcp(client.netns, { address, port })
      t.match(answer, { task: 'task1', target: port, peer })
    }
    const flow = await UdpTalk.open(client.netns, { address, port: 82 })
    t.teardown(() => flow.close())
    t.match(await flow.ask(), { task: 'task1', target: 82, peer })
    t.equal(await askTcp(client.netns, { address, port: 83 }), 'ECONNREFUSED')
  }
})

t.test('a VIP leads a replica to itself too', asRoot, async t => {
  const { client, put } = await openClient(t)
  put(vip([client]))
  for (const address of [VIP.v4, VIP.v6]) {
    t.match(await askTcp(client.netns, { address, port: 80 }), { task: 'task0' })
  }
})

t.test('a VIP without destinations refuses at once and serves with the first', asRoot, async t => {
  const { client, others, put } = await openClient(t)
  put(vip([]))
  const startedAt = performance.now()
  const flow = await UdpTalk.open(client.netns, { address: VIP.v4, port: 80 })
  t.teardown(() => flow.close())
  for (const address of [VIP.v4, VIP.v6]) {
    t.equal(await askTcp(client.netns, { address, port: 80 }), 'ECONNREFUSED')
  }
  t.match(await flow.ask(), /^(ECONNREFUSED|EPERM)$/)
  t.ok(performance.now() - startedAt < 1_000)
  t.ok(put(vip(others.slice(0, 1))))
  t.match(await askTcp(client.netns, { address: VIP.v4, port: 80 }), { task: 'task1' })
  t.match(
    await askUntil(
      () => flow.ask(),
      one => typeof one !== 'string',
      500,
    ),
    { task: 'task1' },
  )
})

t.test(
  'a destination of a VIP that goes keeps TCP, loses UDP, gets nothing new',
  asRoot,
  async t => {
    const { client, others, put } = await openClient(t)
    put(vip(others.slice(0, 1)))
    const talk = await TcpTalk.open(client.netns, { address: VIP.v4, port: 80 })
    const flow = await UdpTalk.open(client.netns, { address: VIP.v4, port: 80 })
    t.teardown(() => [talk, flow].forEach(one => one.close()))
    t.match(await flow.ask(), { task: 'task1' })
    put(vip(others.slice(1)))
    t.equal(String(await talk.echo('still there')), 'still there')
    t.match(await flow.ask(), { task: 'task2' })
    for (let i = 0; i < 8; i++) {
      t.match(await askTcp(client.netns, { address: VIP.v4, port: 80 }), { task: 'task2' })
    }
  },
)

t.test(
  'reconcileVips() writes what differs, adopts what is there, mends what is not',
  asRoot,
  async t => {
    const { client, others, put } = await openClient(t)
    const web = vip(others)
    const api = vip(others.slice(1), { key: 'api', vip4: '10.0.1.201', vip6: 'fd00:1::201' })
    const anew = (...vips: readonly SandboxVip[]): boolean =>
      runInNetns(client.netns, () => reconcileVips(vips).isChanged)
    t.ok(put(web))
    t.notOk(put(web))
    t.ok(put(web, api))
    t.notOk(anew(web, api), 'a later process finds it')
    run(client.netns, 'nft', 'delete element inet portolan_vip vips4 { 10.0.1.201 }')
    t.ok(anew(web, api))
    t.match(await askTcp(client.netns, { address: '10.0.1.201', port: 80 }), { task: 'task2' })
    run(client.netns, 'nft', 'insert rule inet portolan_vip output accept')
    t.ok(anew(web, api), 'a rule that is not ours')
    t.notOk(anew(web, api))
    t.ok(anew())
    t.notOk(anew())
    t.notMatch(run(client.netns, 'nft', 'list tables'), 'portolan_vip')
  },
)

t.test('reconcileVips() refuses two services with one address', asRoot, async t => {
  const { others, put } = await openClient(t)
  const [first, second] = [vip(others.slice(0, 1)), vip(others.slice(1), { key: 'api' })]
  t.throws(() => put(first, second), { code: 'MESH_BAD_SERVICE' })
})
