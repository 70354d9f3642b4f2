import t from 'tap'
import { NftablesDataplane } from '../../../mesh/dataplane/nftables/nftables.js'
import { reconcileIngress, type SandboxIngress } from '../../../mesh/sandbox/ingress.js'
import { composeIngressElements } from '../../../mesh/sandbox/ingress-program.js'
import { closeNetns, createNetns, runInNetns } from '../../../src/kernel/netns.js'
import { asRoot, run } from '../../drivers/lab.js'
import { askTcp, UdpTalk } from '../../lab/mesh-client.js'
import {
  HOST,
  ingressOf,
  openMeshHost,
  PLACE,
  type MeshHost,
  type Task,
} from '../../lab/mesh-host.js'

const INGRESS = { ipv4: '10.99.0.10', ipv6: 'fd00:99::10' } as const

function withoutDefault(wanted: SandboxIngress): SandboxIngress {
  const { defaultAddress4: _4, defaultAddress6: _6, ...rest } = wanted
  return rest
}

async function openOne(t: Parameters<typeof openMeshHost>[0]): Promise<MeshHost & { task: Task }> {
  const lab = await openMeshHost(t, 1)
  const [task] = lab.tasks
  if (task === undefined) throw new Error('no task')
  return { ...lab, task }
}

t.test('reconcileIngress() writes once, and mends each thing that is missing', asRoot, async t => {
  const { task } = await openOne(t)
  const again = (): boolean =>
    runInNetns(task.netns, () => reconcileIngress(ingressOf(task, INGRESS)))
  t.notOk(again())
  const damages = [
    ['ip', 'rule', 'del', 'pref', '5100'],
    ['ip', '-6', 'rule', 'del', 'pref', '5100'],
    ['ip', 'route', 'flush', 'table', '5100001'],
    ['nft', 'delete table inet portolan_ingress'],
    ['nft', 'delete element inet portolan_ingress tcp_targets { 8080 }'],
    ['sysctl', '-qw', 'net.ipv4.tcp_fwmark_accept=0'],
  ] as const
  for (const [command, ...args] of damages) {
    run(task.netns, command, ...args)
    t.ok(again(), `${command} ${args.join(' ')}`)
    t.notOk(again(), 'and then it is as it should be')
  }
})

t.test('reconcileIngress() forgets a point that is gone', asRoot, async t => {
  const { task } = await openOne(t)
  const wanted = { ...ingressOf(task, INGRESS), points: [PLACE.host] }
  t.ok(runInNetns(task.netns, () => reconcileIngress(wanted)))
  t.notMatch(run(task.netns, 'ip', 'rule'), '5100002')
  t.equal(run(task.netns, 'ip', 'route', 'show', 'table', 'all').includes('5100002'), false)
})

t.test('reconcileIngress() says which interface is missing', asRoot, async t => {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  const wanted = ingressOf({ ipv4: '10.0.1.10', ipv6: 'fd00:1::10' }, INGRESS)
  t.throws(() => runInNetns(netns, () => reconcileIngress(wanted)), {
    code: 'MESH_BAD_SERVICE',
    message: /ingress0/,
  })
})

t.test('a sandbox without a default route answers, and gets nowhere by it', asRoot, async t => {
  const { task, at, client } = await openOne(t)
  run(task.netns, 'ip', 'route', 'del', 'default')
  run(task.netns, 'ip', '-6', 'route', 'del', 'default')
  const wanted = withoutDefault(ingressOf(task, INGRESS))
  runInNetns(task.netns, () => reconcileIngress(wanted))
  t.notOk(runInNetns(task.netns, () => reconcileIngress(wanted)))
  const dataplane = at(() => NftablesDataplane.open({ place: PLACE, table: 'portolan_mesh' }))
  t.teardown(() => dataplane.remove())
  const ports = (['tcp', 'udp'] as const).map(protocol => ({ protocol, first: 8080, last: 8080 }))
  const web = {
    ...({ key: 'web', name: 'web', mark: 1, ports, scheduler: 'rr' } as const),
    affinity: { kind: 'none' } as const,
    destinations: [task.destination()],
  }
  await dataplane.apply(new Map([['web', web]]))
  for (const address of [HOST.v4, HOST.v6]) {
    t.match(await askTcp(client, { address, port: 8080 }), { task: 'task0' })
    const flow = await UdpTalk.open(client, { address, port: 8080 })
    t.teardown(() => flow.close())
    t.match(await flow.ask(), { task: 'task0' })
  }
  t.not(await askTcp(task.netns, { address: '192.0.2.2', port: 7 }), 'ECONNREFUSED', 'the client')
  t.not(await askTcp(task.netns, { address: HOST.v4, port: 7 }), 'ECONNREFUSED', 'the host')
})

t.test('every client address has one of ours to answer from, up to the last', async t => {
  const elements = composeIngressElements(
    ingressOf({ ipv4: '10.0.1.10', ipv6: 'fd00:1::10' }, INGRESS),
  )
  const local = elements.filter(one => one.collection === 'local4')
  t.strictSame(
    local.map(({ key, data }) => `${key} ${data}`),
    [
      '0.0.0.0-10.0.0.255 10.0.1.10',
      '10.0.1.0-10.0.1.255 10.0.1.10',
      '10.0.2.0-10.98.255.255 10.0.1.10',
      '10.99.0.0-10.99.0.255 10.99.0.10',
      '10.99.1.0-255.255.255.255 10.0.1.10',
    ],
  )
})
