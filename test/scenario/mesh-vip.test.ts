/** Virtual addresses, names and the spread of connections, from inside containers and outside. */

import { spawnSync } from 'node:child_process'
import t from 'tap'
import type { ServiceView } from '../../src/api/contract.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { ask as askName } from '../lab/ask.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { clientAddresses, hostAddress, joinOutside } from '../lab/outside-client.js'
import {
  addressOf,
  bringUp,
  hostName,
  meshPort,
  replica,
  replicasOf,
  until,
  untilServing,
} from '../lab/replicas.js'
import { formatSet } from '../lab/reply.js'
import { ask, askUdp, Datagrams, Talk, tryTcp, type Route } from '../lab/traffic.js'

const serve = replica('http:80', 'echo:81', 'udp:82')
const composeFile = (last: string): string => `
name: vip
services:
  web:
    scale: 3
    command: ${serve}
    ports: ['8080:80', '8081:81', '8082:82/udp']
    networks: [front]
    labels: { portolan.probe: 'http://:80/health', portolan.probe.interval: 100ms }
  rr:
    scale: 2
    command: ${serve}
    ports: ['8180:80']
    deploy: { endpoint_mode: dnsrr }
    networks: [front]
  weighed:
    scale: 2
    command: ${serve}
    ports: ['8280:80', '8281:81']
    labels: { portolan.scheduler: wrr, portolan.weights: '1=3,2=1' }
    networks: [front]
  sticky:
    scale: 4
    command: ${serve}
    ports: ['8380:80', '8381:81']
    labels: { portolan.affinity: client-ip }
    networks: [front]
  empty:
    scale: 0
    command: ${serve}
    ports: ['8480:80', '8482:82/udp']
    networks: [front]
  box: { command: [sleep, infinity], networks: [front] }
  ${last}:
    command: ${serve}
    expose: ['80']
    networks: [front]
networks:
  front: { enable_ipv6: true }
`

t.test('virtual addresses and the spread of connections', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  await bringUp(host, 'vip', composeFile('first'))
  await untilServing(host, 8080, 3)
  for (const [port, count] of [
    [8180, 2],
    [8280, 2],
    [8380, 4],
  ] as const) {
    await untilServing(host, port, count)
  }
  const scenario = byScenario(t)
  const web = await replicasOf(host, 'web')
  const box = await host.netnsOf('vip-box-1')
  const to = (port: number, more: Partial<Route> = {}): Route => ({
    netns,
    address: hostAddress.v4,
    port,
    ...more,
  })
  const vip = await vipOf(host, 'web')

  scenario([15], 'every replica through the virtual address, itself included', async t => {
    const [first] = web
    if (first === undefined) throw new Error('A replica is missing')
    const own = await host.netnsOf(first.name)
    for (const [address, family] of [
      [vip.ipv4, 4],
      [vip.ipv6, 6],
    ] as const) {
      const met = new Set<string>()
      for (let i = 0; i < 100 && met.size < 3; i++) {
        const answer = await ask({ netns: own, address, port: 80 })
        met.add(answer.host)
        if (answer.host !== hostName(first)) {
          t.strictSame([answer.address, answer.port], [addressOf(first, family), answer.fromPort])
        }
      }
      t.equal(met.size, 3, `IPv${family}`)
    }
    const udp = await askUdp({ netns: box, address: vip.ipv4, port: 82 })
    t.match(udp.heard, { port: udp.fromPort, target: 82 })
  })

  scenario([87], 'a name means the virtual address, tasks.NAME the replicas', async t => {
    const tasks = formatSet(web.map(one => addressOf(one)))
    const rr = formatSet((await replicasOf(host, 'rr')).map(one => addressOf(one)))
    t.equal((await askName(host, 'vip-box-1', 'web A')).text, vip.ipv4)
    t.equal((await askName(host, 'vip-box-1', 'web AAAA')).text, vip.ipv6)
    t.equal((await askName(host, 'vip-box-1', 'tasks.web A')).text, tasks)
    t.equal((await askName(host, 'vip-box-1', 'rr A')).text, rr)
    t.strictSame((await serviceOf(host, 'rr')).vips, [])
    t.match(await serviceOf(host, 'rr'), { endpointMode: 'dnsrr' })
    t.equal((await ask(to(8180))).target, 80, 'a published port needs no virtual address')
  })

  scenario([88], 'who is not ready or drains is not among tasks.NAME', async t => {
    const [first, second, third] = web
    if (first === undefined || second === undefined || third === undefined)
      throw new Error('A replica is missing')
    const names = async (): Promise<string> =>
      (await askName(host, 'vip-box-1', 'tasks.web A')).text
    process.kill(first.pid ?? 0, 'SIGUSR2')
    await until(
      'the first is out',
      async () => (await names()) === formatSet([addressOf(second), addressOf(third)]),
    )
    await host.run('drain', second.name)
    t.equal(await names(), formatSet([addressOf(third)]))
    const met = await meet(() => ask(to(8080)), 20)
    t.strictSame(met, [hostName(third)])
    process.kill(first.pid ?? 0, 'SIGUSR2')
    await host.run('drain', '--undo', second.name)
    await untilServing(host, 8080, 3)
    t.equal(await names(), formatSet(web.map(one => addressOf(one))))
  })

  scenario([36], 'the virtual address answers ping while somebody is ready', async t => {
    t.equal(ping(box, vip.ipv4), 0)
    t.equal(ping(box, vip.ipv6), 0)
    t.not(ping(box, (await vipOf(host, 'empty')).ipv4), 0)
    t.equal(ping(netns, hostAddress.v4), 0, 'the host goes on to answer')
  })

  scenario([61], 'no replica: refused at once; and served once there is one', async t => {
    const startedAt = performance.now()
    t.equal(await tryTcp(to(8480)), 'ECONNREFUSED')
    t.ok(performance.now() - startedAt < 500)
    const address = (await vipOf(host, 'empty')).ipv4
    t.equal(await tryTcp({ netns: box, address, port: 80 }), 'ECONNREFUSED', 'nor through the VIP')
    const flow = await Datagrams.open(to(8482))
    t.teardown(() => flow.close())
    t.equal(await flow.ask(), 'ECONNREFUSED')
    await host.run('scale', 'empty=1')
    await untilServing(host, 8480, 1)
    t.equal((await ask(to(8480))).target, 80)
    t.match(await flow.ask('again'), { text: 'again' }, 'the same UDP flow is healed')
    await host.run('scale', 'empty=0')
    t.equal(await tryTcp(to(8480)), 'ECONNREFUSED')
  })

  scenario([66], 'weights 3 and 1', async t => {
    const [heavy] = await replicasOf(host, 'weighed')
    const total = 1_000
    let got = 0
    for (let i = 0; i < total; i += 20) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(to(8280))))
      got += answers.filter(one => heavy && one.host === hostName(heavy)).length
    }
    // Binomial: the deviation is 13.7, and this is more than four of it.
    t.ok(Math.abs(got - 750) < 60, `${got} of ${total}`)
    const held = await Promise.all(Array.from({ length: 8 }, () => Talk.open(to(8281))))
    await host.run('service', 'update', 'weighed', '--weight', '1=1', '--weight', '2=9')
    for (const [i, talk] of held.entries()) await talk.echo(`still ${i}`)
    held.forEach(talk => talk.close())
    let light = 0
    for (let i = 0; i < 100; i++) {
      const { host: name } = await ask(to(8280))
      if (heavy && name !== hostName(heavy)) light++
    }
    t.ok(light > 75, `${light} of 100 by the new weights`)
  })

  scenario([68], 'a client stays with its replica; clients spread', async t => {
    const homes = new Set<string>()
    for (const from of clientAddresses) {
      const met = await meet(() => ask(to(8380, { from })), 8)
      t.equal(met.length, 1, from)
      met.forEach(name => homes.add(name))
    }
    t.ok(homes.size >= 2, `${homes.size} of 4 replicas have clients`)
  })

  scenario([69], 'who loses its replica moves once, the others stay', async t => {
    const before = await homesOf(to)
    const [, , , last] = await replicasOf(host, 'sticky')
    if (last === undefined) throw new Error('A replica is missing')
    await host.run('drain', last.name)
    const during = await homesOf(to)
    for (const [from, home] of before) {
      if (home === hostName(last)) t.not(during.get(from), home, `${from} moves`)
    }
    const others = [...before].filter(([, home]) => home !== hostName(last))
    const disturbed = others.filter(([from, home]) => during.get(from) !== home)
    t.ok(disturbed.length <= 2, `${disturbed.length} of ${others.length} others moved`)
    t.strictSame(await homesOf(to), during, 'and stay there')
    await host.run('drain', '--undo', last.name)
    t.strictSame(await homesOf(to), before, 'all are back')
  })

  scenario([70], 'affinity and a target port of another number', async t => {
    for (const from of clientAddresses.slice(0, 4)) {
      const [http, talk] = await Promise.all([
        ask(to(8380, { from })),
        Talk.open(to(8381, { from })),
      ])
      talk.close()
      t.strictSame([http.target, talk.seen.target], [80, 81])
      t.equal(http.host, talk.seen.host, 'one replica for all ports of a service')
    }
  })

  scenario([71], 'what this dataplane cannot do is refused with the reason', async t => {
    const refused = await host.cli('service', 'update', 'web', '--scheduler', 'lc')
    t.equal(refused.code, 1)
    t.match(refused.stderr, /^portolan: Cannot balance service "web" by lc: nftables [^\n]+\n$/)
    t.equal((await meshPort(host, 8080)).scheduler, 'rr', 'and nothing is changed')
  })

  scenario([101], 'a port that is not published is not reached through the ingress', async t => {
    const [first] = web
    const ingress = first?.endpoints.find(({ interfaceName }) => interfaceName === 'ingress0')
    const address = ingress?.ipv4?.split('/')[0] ?? ''
    const from = await host.netnsOf('vip-rr-1')
    const outcome = await tryTcp({ netns: from, address, port: 80 }, 1_000)
    t.not(outcome, 'connected', `a replica of another service: ${outcome}`)
    const outside = await tryTcp({ netns, address, port: 80 }, 1_000)
    t.not(outside, 'connected', `from outside: ${outside}`)
  })

  scenario([85], 'an address that was another service means that one no more', async t => {
    const before = await vipOf(host, 'first')
    const flow = await Datagrams.open({ netns: box, address: before.ipv4, port: 82 })
    t.teardown(() => flow.close())
    const old = await replicasOf(host, 'first')
    t.match(await flow.ask('one'), { host: hostName(old[0] ?? { id: '' }) })
    await host.run(
      'up',
      '-d',
      '--remove-orphans',
      '-f',
      host.writeFile('vip.yaml', composeFile('second')),
    )
    const after = await vipOf(host, 'second')
    const [next] = await replicasOf(host, 'second')
    const heard = await flow.ask('two')
    if (after.ipv4 === before.ipv4) t.comment('the address was given again at once')
    const met = typeof heard === 'string' ? heard : heard.host
    t.not(met, hostName(old[0] ?? { id: '' }))
    if (after.ipv4 !== before.ipv4) t.not(met, hostName(next ?? { id: '' }), 'nor the new one')
  })

  assertScenarios(t, 'vip', scenario.numbers)

  /** Who serves each of the client's addresses. */
  async function homesOf(
    route: (port: number, more: Partial<Route>) => Route,
  ): Promise<Map<string, string>> {
    const homes = new Map<string, string>()
    for (const from of clientAddresses) {
      homes.set(from, (await ask(route(8380, { from }))).host)
    }
    return homes
  }
})

async function meet(
  once: () => Promise<{ readonly host: string }>,
  count: number,
): Promise<readonly string[]> {
  const met = new Set<string>()
  for (let i = 0; i < count; i++) met.add((await once()).host)
  return [...met]
}

async function serviceOf(host: Host, name: string): Promise<ServiceView> {
  const all = await host.api.call<readonly ServiceView[]>('GET', '/v1/services')
  const found = all.find(one => one.name === name)
  if (found === undefined) throw new Error(`There is no service ${name}`)
  return found
}

async function vipOf(host: Host, name: string): Promise<{ ipv4: string; ipv6: string }> {
  const [first] = (await serviceOf(host, name)).vips
  return { ipv4: first?.ipv4 ?? '', ipv6: first?.ipv6 ?? '' }
}

function ping(netns: Netns, address: string): number | null {
  const words = ['-c', '1', '-W', '2', address]
  return runInNetns(netns, () => spawnSync('ping', words, { stdio: 'ignore' })).status
}
