/** What reaches published ports, from where, and whom the replicas see. One host, one project. */

import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { runInNetns } from '../../src/kernel/netns.js'
import { addAddress, getLink } from '../../src/kernel/rtnetlink.js'
import { outsideLink } from '../fixtures/addresses.js'
import { countFlows } from '../lab/flows.js'
import { asRoot, openHost } from '../lab/host.js'
import { fixturePath } from '../lab/world.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { clientAddress, hostAddress, joinOutside, otherHostAddress } from '../lab/outside-client.js'
import { addressOf, bringUp, hostName, replica, replicasOf, untilServing } from '../lab/replicas.js'
import { ask, askUdp, connectTcp, read, request, Talk, tryTcp, type Route } from '../lab/traffic.js'

const composeFile = (pktinfo: string): string => `
name: fwd
services:
  web:
    scale: 3
    command: ${replica('http:80', 'echo:81', 'udp:82', 'http:9000')}
    ports: ['8080:80', '8180:80', '8081:81', '8082:82/udp', '9000:9000']
    networks: [front]
  one:
    command: ${replica('http:80', 'echo:81', 'udp-own:83', 'udp6:84')}
    ports: ['8280:80', '8281:81', '8083:83/udp', '8084:84/udp', '8090:90', '8091:91/udp']
    labels: { portolan.probe: none }
    networks: [front]
  four:
    command: ${replica('http4:80')}
    ports: ['8085:80']
    networks: [front]
  six:
    command: ${replica('http6:80')}
    ports: ['8086:80']
    networks: [front]
  inner:
    command: ${replica('http:80', 'udp:82')}
    ports: ['8087:80', '8088:82/udp']
    networks: [back]
  both:
    command: ${replica('http:80', 'udp:82')}
    ports: ['8092:80', '8093:82/udp']
    networks: [front, back, third]
  info: { command: ['${pktinfo}', '84'], ports: ['8094:84/udp'], networks: [front] }
  box: { command: [sleep, infinity], networks: [front] }
networks:
  front: { enable_ipv6: true }
  back: { internal: true }
  third:
`

t.test('basic forwarding and client identity', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  const pktinfo = join(host.root, 'pktinfo')
  execFileSync('gcc', ['-O1', '-o', pktinfo, fixturePath('pktinfo.c')])
  await bringUp(host, 'fwd', composeFile(pktinfo))
  await untilServing(host, 8080, 3)
  for (const port of [8280, 8085, 8086, 8087, 8092]) await untilServing(host, port, 1)
  const scenario = byScenario(t)
  const web = await replicasOf(host, 'web')
  const [one] = await replicasOf(host, 'one')
  const [box] = await replicasOf(host, 'box')
  if (one === undefined || box === undefined) throw new Error('A container is missing')
  const to = (port: number, address: string = hostAddress.v4): Route => ({ netns, address, port })

  scenario([3], 'the client is seen with its own address and port, at every address', async t => {
    for (const address of [hostAddress.v4, otherHostAddress]) {
      const { address: seen, port, fromPort } = await ask(to(8080, address))
      t.strictSame([seen, port], [clientAddress.v4, fromPort], address)
    }
  })

  scenario([2], 'each of three replicas gets its share', async t => {
    const total = 300
    const counts = new Map(web.map(one => [hostName(one), 0]))
    for (let i = 0; i < total; i += 10) {
      const answers = await Promise.all(Array.from({ length: 10 }, () => ask(to(8080))))
      for (const { host: name } of answers) counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    t.equal(counts.size, 3)
    const expected = total / 3
    const deviation = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2, 0)
    // Chi-squared of two degrees of freedom: more than 20 comes once in 20,000 runs.
    t.ok(deviation / expected < 20, [...counts.values()].join(', '))
  })

  scenario([4], 'UDP: the answer comes from where it was asked', async t => {
    // Both sockets are connected: an answer from elsewhere would not be heard.
    for (const address of [hostAddress.v4, otherHostAddress]) {
      const { heard, fromPort } = await askUdp(to(8082, address))
      t.match(heard, { address: clientAddress.v4, port: fromPort, target: 82 }, address)
    }
  })

  scenario([5], 'UDP to a server that is bound to its own address only', async t => {
    const { heard, fromPort } = await askUdp(to(8083))
    t.match(heard, { address: clientAddress.v4, port: fromPort, target: 83 })
  })

  scenario([6], 'UDP to a server that answers by IP_PKTINFO', async t => {
    for (const address of [hostAddress.v4, otherHostAddress]) {
      const { heard, fromPort } = await askUdp(to(8094, address))
      t.match(heard, { address: clientAddress.v4, port: fromPort, target: 84 }, address)
    }
  })

  scenario([8], 'IPv6, TCP and UDP', async t => {
    const { address, port, fromPort } = await ask(to(8080, hostAddress.v6))
    t.strictSame([address, port], [clientAddress.v6, fromPort])
    const udp = await askUdp(to(8084, hostAddress.v6))
    t.match(udp.heard, { address: clientAddress.v6, port: udp.fromPort, target: 84 })
  })

  scenario([9, 10], 'a family that the program does not serve is refused at once', async t => {
    for (const [port, address] of [
      [8086, hostAddress.v4],
      [8085, hostAddress.v6],
    ] as const) {
      const startedAt = performance.now()
      t.equal(await tryTcp(to(port, address)), 'ECONNREFUSED', address)
      t.ok(performance.now() - startedAt < 1_000, 'within a second')
    }
    t.equal((await ask(to(8085))).target, 80)
    t.equal((await ask(to(8086, hostAddress.v6))).target, 80)
  })

  scenario([11], "the host's own programs, to each of its addresses", async t => {
    for (const address of [hostAddress.v4, otherHostAddress, hostAddress.v6]) {
      const answer = await ask({ netns: host.netns, address, port: 8080 })
      t.equal(answer.port, answer.fromPort, address)
      t.ok(
        outsideLink.host.some(cidr => cidr.startsWith(`${answer.address}/`)),
        answer.address,
      )
    }
    const { address } = await ask({ netns: host.netns, address: '127.0.0.1', port: 8080 })
    t.match(address, /^\d+(\.\d+){3}$/, 'loopback: an address of the host')
    t.notMatch(address, /^127\./)
    const udp = await askUdp({ netns: host.netns, address: '127.0.0.1', port: 8082 })
    t.match(udp.heard, { target: 82 }, 'UDP to 127.0.0.1')
    const bridge = (
      await host.api.call<readonly { name: string; subnets: { gateway?: string }[] }[]>(
        'GET',
        '/v1/networks',
      )
    ).find(({ name }) => name === 'fwd_front')
    const gateway = bridge?.subnets[0]?.gateway ?? ''
    t.equal((await ask({ netns: host.netns, address: gateway, port: 8080 })).target, 80, gateway)
  })

  scenario([12], 'a replica reaches itself through the published port', async t => {
    const own = await host.netnsOf(one.name)
    const answer = await ask({ netns: own, address: hostAddress.v4, port: 8280 })
    t.equal(answer.host, hostName(one))
    t.match(answer.address, /^\d+(\.\d+){3}$/)
    const udp = await askUdp({ netns: own, address: hostAddress.v4, port: 8084 })
    t.match(udp.heard, { host: hostName(one) })
    const six = await ask({ netns: own, address: hostAddress.v6, port: 8280 })
    t.equal(six.host, hostName(one))
  })

  scenario([13], 'a container to a published port of its own node is seen as itself', async t => {
    const from = await host.netnsOf(box.name)
    for (const [address, family] of [
      [hostAddress.v4, 4],
      [hostAddress.v6, 6],
    ] as const) {
      const answer = await ask({ netns: from, address, port: 8080 })
      t.strictSame([answer.address, answer.port], [addressOf(box, family), answer.fromPort])
    }
    const [first, second] = web
    if (first === undefined || second === undefined) throw new Error('A replica is missing')
    const sibling = await host.netnsOf(first.name)
    for (let i = 0; i < 6; i++) {
      const answer = await ask({ netns: sibling, address: hostAddress.v4, port: 8080 })
      if (answer.host !== hostName(first)) t.equal(answer.address, addressOf(first))
    }
  })

  scenario([16], 'three megabytes both ways, byte by byte', async t => {
    const body = randomBytes(3_000_000)
    const sum = await request(to(8080), { path: '/', body })
    t.equal(sum.toString().trim(), createHash('sha256').update(body).digest('hex'))
    const got = await request(to(8080), { path: '/bytes/3000000/100' })
    t.equal(got.length, 3_000_000)
    t.ok(got.subarray(0, 8).equals(Buffer.from('portolan')))
  })

  scenario([18], 'a half-closed connection goes on in the other direction', async t => {
    const socket = await connectTcp(to(8081))
    socket.end('last words\n')
    const lines = (await read(socket)).toString().trim().split('\n')
    t.strictSame(lines.slice(1), [
      'last words',
      ...Array.from({ length: 20 }, (_, i) => `line ${i + 1}`),
    ])
  })

  scenario([19], 'each published port has its own target', async t => {
    const targets = [8080, 8180, 9000]
    const found = await Promise.all(targets.map(async port => (await ask(to(port))).target))
    t.strictSame(found, [80, 80, 9000])
    const talk = await Talk.open(to(8081))
    t.equal(talk.seen.target, 81)
    talk.close()
  })

  scenario([20], 'one client port to two published ports at once', async t => {
    const fromPort = 45_678
    const route = { ...to(8081), from: clientAddress.v4, fromPort }
    const first = await Talk.open(route)
    const second = await Talk.open({ ...route, port: 8281 })
    for (let i = 0; i < 50; i++) {
      await Promise.all([first.echo(`a${i}`), second.echo(`b${i}`)])
    }
    t.strictSame([first.seen.port, second.seen.port], [fromPort, fromPort])
    first.close()
    second.close()
  })

  scenario([21, 22], 'one client port to two addresses of the host, one replica', async t => {
    const route = { netns, from: clientAddress.v4, fromPort: 45_679, port: 8281 }
    const first = await Talk.open({ ...route, address: hostAddress.v4 })
    const second = await Talk.open({ ...route, address: otherHostAddress })
    await Promise.all([first.echo('a'), second.echo('b')])
    t.strictSame([first.seen.address, second.seen.address], [clientAddress.v4, clientAddress.v4])
    first.close()
    second.close()
  })

  scenario([25], 'a client port that is used again at once', async t => {
    for (let i = 0; i < 5; i++) {
      const socket = await connectTcp({ ...to(8281), from: clientAddress.v4, fromPort: 45_680 })
      // A reset leaves nothing that waits on the client's side.
      const startedAt = performance.now()
      socket.resetAndDestroy()
      await new Promise(resolve => socket.once('close', resolve))
      const again = await Talk.open({ ...to(8281), from: clientAddress.v4, fromPort: 45_680 })
      t.ok(performance.now() - startedAt < 500, 'no wait of a second')
      again.socket.resetAndDestroy()
    }
  })

  scenario([26], "the client's reset reaches the replica", async t => {
    const own = await host.netnsOf(one.name)
    const talk = await Talk.open(to(8281))
    talk.socket.resetAndDestroy()
    await countFlows(t, own, 'established', talk.seen.port, 0)
  })

  scenario([27], 'a refusal of the program is a refusal', async t => {
    const startedAt = performance.now()
    t.equal(await tryTcp(to(8090)), 'ECONNREFUSED')
    t.ok(performance.now() - startedAt < 1_000)
  })

  scenario([28], 'a port where no program takes datagrams', async t => {
    const { heard } = await askUdp(to(8091))
    t.equal(heard, 'ECONNREFUSED')
  })

  scenario([29], 'keepalive probes pass, and keep the connection', async () => {
    const talk = await Talk.open(to(8081))
    talk.socket.setKeepAlive(true, 1_000)
    await talk.echo('before')
    // What is tested is that nothing but probes goes on for a while.
    await delay(2_500)
    await talk.echo('after')
    talk.close()
  })

  scenario([42], 'a replica on an internal network only', async t => {
    const answer = await ask(to(8087))
    t.strictSame([answer.address, answer.port], [clientAddress.v4, answer.fromPort])
    const { heard } = await askUdp(to(8088))
    t.match(heard, { address: clientAddress.v4, target: 82 })
    t.equal((await ask(to(8087, hostAddress.v6))).address, clientAddress.v6)
  })

  scenario([122], 'a replica on several networks answers the right way', async t => {
    const answer = await ask(to(8092))
    t.strictSame([answer.address, answer.port], [clientAddress.v4, answer.fromPort])
    const { heard } = await askUdp(to(8093))
    t.match(heard, { address: clientAddress.v4, target: 82 })
    for (const { name } of [box, ...web]) {
      const inside = await host.netnsOf(name)
      t.equal((await ask({ netns: inside, address: hostAddress.v4, port: 8092 })).target, 80)
    }
  })

  scenario([125], 'an address that the host gets later serves at once', async t => {
    const later = '203.0.113.3'
    t.not(await tryTcp(to(8080, later), 300), 'connected')
    runInNetns(host.netns, () => addAddress(getLink('lan0')?.index ?? 0, `${later}/24`))
    const startedAt = performance.now()
    t.equal((await ask(to(8080, later))).address, clientAddress.v4)
    const ms = performance.now() - startedAt
    t.ok(ms < 2_000, `after ${Math.round(ms)} ms`)
  })

  scenario([17], 'many short connections: no failure', async t => {
    const count = 2_000
    const parallel = 20
    let failed = 0
    const work = async (): Promise<void> => {
      for (let i = 0; i < count / parallel; i++) {
        await ask(to(8080)).catch(() => failed++)
      }
    }
    await Promise.all(Array.from({ length: parallel }, work))
    t.equal(failed, 0)
  })

  assertScenarios(t, 'forwarding', scenario.numbers)
})
