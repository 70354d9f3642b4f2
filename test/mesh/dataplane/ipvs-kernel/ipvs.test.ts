/** What only IPVS does, or does in a way of its own, seen by ipvsadm and by clients. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { IpvsDataplane } from '../../../../mesh/dataplane/ipvs/ipvs.js'
import type { Destination, MeshState, VirtualService } from '../../../../mesh/state.js'
import { closeNetns, openNetns, runInNetns, type Netns } from '../../../../src/kernel/netns.js'
import { run } from '../../../drivers/lab.js'
import { askTcp, TcpTalk, UdpTalk, type At } from '../../../lab/mesh-client.js'
import { HOST, openMeshHost, PLACE, type Answer, type MeshHost } from '../../../lab/mesh-host.js'
import { service } from '../ipvs/services.js'
import { openKit, timeoutMs, type IpvsKit } from './kit.js'

const both: VirtualService['ports'] = (['tcp', 'udp'] as const).map(protocol => ({
  ...{ protocol, first: 8080, last: 8080 },
}))

interface Bench extends MeshHost {
  readonly kit: IpvsKit
  readonly dataplane: IpvsDataplane
  readonly nsPath: string
}

async function openBench(t: Test): Promise<Bench> {
  const lab = await openMeshHost(t, 2)
  const kit = openKit(t)
  const dataplane = lab.at(() => kit.open(PLACE))
  t.teardown(() => dataplane.remove())
  return { ...lab, kit, dataplane, nsPath: lab.at(() => kit.nsPath()) }
}

function state(changes: Partial<VirtualService>): MeshState {
  return new Map([['web', service({ ports: both, ...changes })]])
}

function destinationsOf({ tasks }: MeshHost, ...weights: readonly number[]): Destination[] {
  return tasks.flatMap((task, i) => (weights[i] ? [task.destination(weights[i])] : []))
}

function talkTo({ client }: MeshHost, at: Partial<At> = {}): Promise<TcpTalk> {
  return TcpTalk.open(client, { address: HOST.v4, port: 8080, ...at })
}

async function ask({ client }: MeshHost): Promise<string> {
  const answer = await askTcp(client, { address: HOST.v4, port: 8080 })
  return typeof answer === 'string' ? answer : answer.task
}

/** A program's word in the namespace of IPVS. */
function inside<T>({ nsPath }: Bench, body: (netns: Netns) => T): T {
  const netns = openNetns(nsPath)
  try {
    return body(netns)
  } finally {
    closeNetns(netns)
  }
}

function ipvsadm(bench: Bench, ...words: readonly string[]): string {
  return inside(bench, netns => run(netns, 'ipvsadm', ...words))
}

/** The lines of IPv4 connections' destinations, as `ADDRESS:PORT WEIGHT`. */
function listed(bench: Bench, mark = 'FWM  1342177287 '): string[] {
  const [, own = ''] = ipvsadm(bench, '-Ln').split(mark)
  return [...(own.split('FWM')[0] ?? '').matchAll(/-> (\S+) +Masq +(\d+)/g)].map(
    ([, address, weight]) => `${address} ${weight}`,
  )
}

t.setTimeout(timeoutMs)
t.test('IpvsDataplane, and only that', { timeout: timeoutMs }, async t => {
  const bench = await openBench(t)
  const { dataplane } = bench
  const talks: (TcpTalk | UdpTalk)[] = []
  const hold = async (): Promise<Answer> => {
    const talk = await talkTo(bench)
    talks.push(talk)
    return talk.answer
  }
  t.afterEach(() => talks.splice(0).forEach(talk => talk.close()))

  t.test('lc gives the next connection to who has the fewest', async t => {
    await dataplane.apply(state({ scheduler: 'lc', destinations: destinationsOf(bench, 1) }))
    for (let i = 0; i < 3; i++) t.match(await hold(), { task: 'task0' })
    await dataplane.apply(state({ scheduler: 'lc', destinations: destinationsOf(bench, 1, 1) }))
    for (let i = 0; i < 3; i++) t.match(await hold(), { task: 'task1' })
    const stats = await dataplane.stats()
    t.strictSame(
      stats.map(one => one.activeConnections),
      [3, 3],
    )
  })

  t.test("a replica's own refusal reaches the client", async t => {
    const ports = both.map(port => ({ ...port, first: 9999, last: 9999 }))
    await dataplane.apply(state({ ports, destinations: destinationsOf(bench, 1) }))
    for (const address of [HOST.v4, HOST.v6]) {
      t.equal(await askTcp(bench.client, { address, port: 9999 }), 'ECONNREFUSED', address)
      const flow = await UdpTalk.open(bench.client, { address, port: 9999 })
      talks.push(flow)
      t.equal(await flow.ask(), 'ECONNREFUSED', `${address} over UDP`)
    }
  })

  t.test('wrr keeps weights exactly', async t => {
    await dataplane.apply(state({ scheduler: 'wrr', destinations: destinationsOf(bench, 3, 1) }))
    const counts = { task0: 0, task1: 0 }
    for (let i = 0; i < 12; i++) {
      const task = await ask(bench)
      if (task === 'task0' || task === 'task1') counts[task]++
    }
    t.strictSame(counts, { task0: 9, task1: 3 })
  })

  t.test('a destination that leaves drains, and comes back with its weight', async t => {
    const pair = state({ scheduler: 'wrr', destinations: destinationsOf(bench, 4, 2) })
    const single = state({ scheduler: 'wrr', destinations: destinationsOf(bench, 4) })
    await dataplane.apply(state({ scheduler: 'wrr', destinations: destinationsOf(bench, 0, 2) }))
    const talk = await talkTo(bench)
    talks.push(talk)
    const [first, second] = bench.tasks.map(task => `${task.destination().ipv4}:0`)
    await dataplane.apply(single)
    t.strictSame(listed(bench), [`${first} 4`, `${second} 0`])
    t.equal(String(await talk.echo('drains')), 'drains')
    t.equal(await dataplane.reconcile(single), 0, 'and that is no difference')
    await dataplane.apply(pair)
    t.strictSame(listed(bench), [`${first} 4`, `${second} 2`])
    await dataplane.apply(single)
    t.strictSame(listed(bench), [`${first} 4`, `${second} 0`])
  })

  t.test('a service that goes keeps its connections, and goes with the last', async t => {
    await dataplane.apply(state({ destinations: destinationsOf(bench, 1) }))
    const talk = await talkTo(bench)
    talks.push(talk)
    await dataplane.apply(new Map())
    t.equal(await ask(bench), 'ECONNREFUSED')
    t.equal(String(await talk.echo('still there')), 'still there')
    talk.close()
    const gone = await until(async () => {
      await dataplane.stats()
      return !ipvsadm(bench, '-Ln').includes('FWM')
    })
    t.ok(gone)
  })

  t.test('the destinations of datagrams go at once', async t => {
    await dataplane.apply(state({ destinations: destinationsOf(bench, 1) }))
    const flow = await UdpTalk.open(bench.client, { address: HOST.v4, port: 8080 })
    talks.push(flow)
    t.match(await flow.ask(), { task: 'task0' })
    await dataplane.apply(state({ destinations: destinationsOf(bench, 0, 1) }))
    t.match(await flow.ask(), { task: 'task1' }, 'the very next one')
    t.strictSame(listed(bench, 'FWM  1343225863 '), [`${bench.tasks[1]?.destination().ipv4}:0 1`])
    await dataplane.apply(state({}))
    t.equal(await flow.ask(), 'ECONNREFUSED')
  })

  t.test('reconcile() mends what somebody did to IPVS, and leaves the host its own', async t => {
    const wanted = state({ scheduler: 'wrr', destinations: destinationsOf(bench, 2, 1) })
    await dataplane.reconcile(wanted)
    const asWanted = listed(bench)
    t.equal(asWanted.length, 2)
    run(bench.host, 'ipvsadm', '-A', '-t', '192.0.2.1:99', '-s', 'rr')
    const address = `${bench.tasks[0]?.destination().ipv4}:0`
    const damages = [
      ['-C'],
      ['-e', '-f', '1342177287', '-r', address, '-m', '-w', '77'],
      ['-a', '-f', '1342177287', '-r', '10.99.0.77:0', '-m', '-w', '1'],
      ['-a', '-f', '1342177287', '-r', `${bench.tasks[0]?.destination().ipv4}:81`, '-m'],
      ['-d', '-f', '1342177287', '-r', address],
      ['-D', '-f', '1342177287'],
      ['-E', '-f', '1342177287', '-s', 'rr'],
      ['-A', '-t', '10.99.0.2:99', '-s', 'rr'],
      ['-A', '-f', '5', '-s', 'rr'],
      ['--set', '900', '120', '300'],
    ]
    for (const damage of damages) {
      ipvsadm(bench, ...damage)
      const name = damage.join(' ')
      const count = await dataplane.reconcile(wanted)
      if (!name.startsWith('-A -f')) t.ok(count > 0, name)
      t.strictSame(listed(bench), asWanted, name)
      t.equal(await dataplane.reconcile(wanted), 0, `${name}, once`)
    }
    t.equal(ipvsadm(bench, '-Sn').match(/^-A/gm)?.length, 4, 'two families, TCP and UDP')
    t.match(ipvsadm(bench, '-L', '--timeout'), /432000 120 300/)
    t.match(run(bench.host, 'ipvsadm', '-Ln'), '192.0.2.1:99')
  })

  t.test('reconcile() mends links, addresses, routes, settings and the hold', async t => {
    const wanted = state({ destinations: destinationsOf(bench, 1) })
    await dataplane.reconcile(wanted)
    // What is remembered of neighbours would hide that they cannot be asked for.
    const flush = 'ip addr flush dev ing0; ip neigh flush all'
    const damages: [string, () => void][] = [
      ['link', () => run(bench.host, 'ip', 'link', 'del', PLACE.ipvsLink)],
      ['port', () => run(bench.host, 'ip', 'link', 'del', `${PLACE.ipvsLink}p`)],
      ['down', () => run(bench.host, 'ip', 'link', 'set', PLACE.ipvsLink, 'down')],
      ['address', () => inside(bench, netns => run(netns, 'sh', '-c', flush))],
      ['route', () => inside(bench, netns => run(netns, 'ip', 'route', 'del', 'default'))],
      ['tables', () => inside(bench, netns => run(netns, 'nft', 'flush', 'ruleset'))],
      ['hold', () => run(bench.host, 'umount', '-l', bench.nsPath)],
      [
        'setting',
        () => inside(bench, netns => run(netns, 'sysctl', '-qw', 'net.ipv4.vs.conntrack=0')),
      ],
    ]
    for (const [name, damage] of damages) {
      damage()
      t.ok((await dataplane.reconcile(wanted)) > 0, name)
      for (const address of [HOST.v4, HOST.v6]) {
        const answer = await askTcp(bench.client, { address, port: 8080 })
        t.match(answer, { task: 'task0' }, `${name}, ${address}`)
      }
      t.equal(await dataplane.reconcile(wanted), 0, `${name}, once`)
    }
  })

  t.test('apply() finds its way where IPVS was emptied', async t => {
    await dataplane.reconcile(state({ destinations: destinationsOf(bench, 1) }))
    ipvsadm(bench, '-C')
    await dataplane.apply(state({ destinations: destinationsOf(bench, 0, 1) }), new Set(['web']))
    t.equal(await ask(bench), 'task1')
  })

  t.test('a client keeps its destination by persistence, of its whole address', async t => {
    const affinity = { kind: 'client-ip', timeoutSeconds: 77 } as const
    const ports = both.slice(0, 1)
    await dataplane.apply(state({ ports, affinity, destinations: destinationsOf(bench, 1, 1) }))
    const first = await ask(bench)
    for (let i = 0; i < 4; i++) t.equal(await ask(bench), first)
    t.match(ipvsadm(bench, '-Ln'), /FWM +1342177287 rr persistent 77\n/)
  })

  t.test('who knows the addresses of the namespace meets nothing by them', async t => {
    const ports = [{ protocol: 'tcp', first: 8080, last: 8080, address: '127.0.0.1' }] as const
    await dataplane.apply(state({ ports, destinations: destinationsOf(bench, 1) }))
    t.match(await askTcp(bench.host, { address: '127.0.0.1', port: 8080 }), { task: 'task0' })
    t.equal(await ask(bench), 'ECONNREFUSED')
    run(bench.client, 'ip', 'route', 'add', '198.18.0.0/15', 'via', HOST.v4)
    const addresses = inside(bench, netns => run(netns, 'ip', '-4', '-o', 'addr', 'show', 'eth0'))
    for (const [, address = ''] of addresses.matchAll(/inet (198\.\S+)\//g)) {
      const answer = await askTcp(bench.client, { address, port: 8080 })
      t.equal(answer, 'ETIMEDOUT', address)
    }
  })

  t.test('a scheduler that the kernel lacks is refused by its name', async t => {
    const scheduler = JSON.parse('"lacking"') as VirtualService['scheduler']
    const message = /ip_vs_lacking/
    t.throws(() => dataplane.check(service({ scheduler })), { code: 'MESH_UNSUPPORTED', message })
  })

  t.test('a daemon that is killed leaves all that connections live by', async t => {
    const wanted = state({ destinations: destinationsOf(bench, 1, 1) })
    await dataplane.apply(wanted)
    await dataplane.remove()
    const child = runInNetns(bench.host, () =>
      spawn(
        process.execPath,
        [
          fileURLToPath(new URL('daemon.js', import.meta.url)),
          bench.nsPath,
          JSON.stringify([...wanted]),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      ),
    )
    await once(child.stdout, 'data')
    const talk = await talkTo(bench)
    talks.push(talk)
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
    t.equal(String(await talk.echo('alone')), 'alone')
    t.match(await ask(bench), /^task/, 'new ones are served too')
    const later = bench.at(() => bench.kit.open(PLACE))
    t.teardown(() => later.remove())
    t.equal(await later.reconcile(wanted), 0)
    t.equal(String(await talk.echo('adopted')), 'adopted')
  })
})

async function until(isSo: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + 15_000
  while (performance.now() < end) if (await isSo()) return true
  return false
}
