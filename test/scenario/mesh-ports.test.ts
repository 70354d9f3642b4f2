/** Which ports are published where, whose they are, and what firewalls of the host do to them. */

import { spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import t from 'tap'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { openTcpListener } from '../../src/kernel/socket.js'
import { asRoot, openHost } from '../lab/host.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { clientAddress, hostAddress, joinOutside, otherHostAddress } from '../lab/outside-client.js'
import { bringUp, meshPort, replica, replicasOf, untilServing } from '../lab/replicas.js'
import { ask, askUdp, tryTcp, type Route } from '../lab/traffic.js'

const composeFile = `
name: prt
services:
  web:
    scale: 2
    command: ${replica('http:80', 'http:7000', 'http:7050', 'http:7099')}
    ports:
      - '8080:80'
      - '20000-20099:7000-7099'
      - '${otherHostAddress}:8380:80'
      - '127.0.0.1:8381:80'
      - '80'
    networks: [front]
  tcp: { command: ${replica('http:80')}, ports: ['5300:80/tcp'], networks: [front] }
  udp: { command: ${replica('udp:82')}, ports: ['5300:82/udp'], networks: [front] }
  hosted:
    command: ${replica('http:80')}
    ports: [{ target: 80, published: '8480', mode: host }]
    networks: [front]
networks: { front: {} }
`

/** A project of one service that publishes this. */
const other = (ports: string, more = ''): string => `
name: other
services:
  web: { command: ${replica('http:80')}, ports: [${ports}]${more} }
`

t.test('ports, addresses and firewalls', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  await bringUp(host, 'prt', composeFile)
  await untilServing(host, 8080, 2)
  await untilServing(host, 5300, 1)
  await untilServing(host, 8480, 1)
  const scenario = byScenario(t)
  const to = (port: number, address: string = hostAddress.v4): Route => ({ netns, address, port })

  /** `up` of this is refused in one line, and nothing is made. */
  async function refused(ports: string, reason: RegExp, more = ''): Promise<void> {
    const path = host.writeFile('other.yaml', other(ports, more))
    const { code, stderr } = await host.cli('up', '-d', '-f', path)
    t.equal(code, 1, stderr)
    t.match(stderr, reason)
    t.match(stderr, /^portolan: [^\n]+\n$/, 'one line')
    const projects = await host.api.call<readonly { name: string }[]>('GET', '/v1/projects')
    t.notOk(
      projects.some(({ name }) => name === 'other'),
      'nothing is applied',
    )
  }

  scenario([92], 'a port that a program of the host listens at', async t => {
    const place = { address: '0.0.0.0', port: 2200, backlog: 8 }
    const { fd } = runInNetns(host.netns, () => openTcpListener(place))
    await refused("'2200:80'", /port 2200\/tcp .* has it/)
    closeSync(fd)
    t.pass()
  })

  scenario([92, 99], 'a port that another service has, in whatever mode', async t => {
    await refused("'8080:80'", /port 8080\/tcp .*service "web" of project "prt" has it/)
    await refused("'8480:80'", /port 8480\/tcp .*service "hosted" of project "prt" has it/)
    await refused("{ target: 80, published: '8080', mode: host }", /port 8080\/tcp/)
    await refused(`'${hostAddress.v4}:8080:80'`, /port 8080\/tcp/)
    await refused("'20050:80'", /port 20050\/tcp/)
    t.equal((await ask(to(8080))).target, 80, 'who has it keeps it')
  })

  scenario([93], 'a program that takes the port later gets nothing from outside', async t => {
    const { fd } = runInNetns(host.netns, () =>
      openTcpListener({ address: '0.0.0.0', port: 8080, backlog: 8 }),
    )
    for (let i = 0; i < 5; i++) t.equal((await ask(to(8080))).target, 80)
    closeSync(fd)
  })

  scenario([94], 'one number, TCP of one service and UDP of another', async t => {
    t.equal((await ask(to(5300))).target, 80)
    t.match((await askUdp(to(5300))).heard, { target: 82 })
  })

  scenario([95], 'a range leads to a range, in few elements', async t => {
    for (const [published, target] of [
      [20_000, 7_000],
      [20_050, 7_050],
      [20_099, 7_099],
    ] as const) {
      t.equal((await ask(to(published))).target, target)
    }
    for (const port of [19_999, 20_100]) t.equal(await tryTcp(to(port)), 'ECONNREFUSED')
    t.equal(await tryTcp(to(20_001)), 'ECONNREFUSED', 'nobody listens at its target')
    const rules = run(host.netns, 'nft', 'list', 'ruleset')
    t.equal(rules.match(/20000/g)?.length, 1, rules)
    t.notMatch(rules, /20050/)
  })

  scenario([96], 'published at one address only', async t => {
    t.equal((await ask(to(8380, otherHostAddress))).target, 80)
    t.equal(await tryTcp(to(8380)), 'ECONNREFUSED')
    t.equal(await tryTcp(to(8380, hostAddress.v6)), 'ECONNREFUSED')
    const own = { netns: host.netns, port: 8381 }
    t.equal((await ask({ ...own, address: '127.0.0.1' })).target, 80)
    t.equal(await tryTcp(to(8381)), 'ECONNREFUSED')
    t.equal(await tryTcp({ ...own, address: hostAddress.v4 }), 'ECONNREFUSED')
  })

  scenario([98], 'mode host: the replica of this node, seen as the client is', async t => {
    const { address, port, fromPort } = await ask(to(8480))
    t.strictSame([address, port], [clientAddress.v4, fromPort])
    t.equal((await meshPort(host, 8480)).container, 'prt-hosted-1')
    const spec = "{ target: 80, published: '8490', mode: host }"
    await refused(spec, /mode host: 2 replicas on one node cannot share it/, ', scale: 2')
    t.equal(await tryTcp(to(8490)), 'ECONNREFUSED')
  })

  t.test('a port that is left to us is one of 30000 to 32767', async t => {
    const said = await host.run('services', '-p', 'prt')
    const [, port] = /\b(3\d{4})->80\/tcp/.exec(said) ?? []
    const number = Number(port)
    t.ok(number >= 30_000 && number <= 32_767, said)
    t.equal((await ask(to(number))).target, 80)
    await host.run('scale', '-p', 'prt', 'web=3')
    t.equal((await ask(to(number))).target, 80, 'it stays the same')
    await host.run('scale', '-p', 'prt', 'web=2')
  })

  scenario([100], "a drop of the user's own table counts, also after a change", async t => {
    const table = 'table inet user { chain in { type filter hook prerouting priority -200;'
    nft(host.netns, `${table} tcp dport 8080 drop; }; }`)
    t.equal(await tryTcp(to(8080), 500), 'TIMEOUT')
    await host.run('scale', '-p', 'prt', 'web=3')
    t.equal(await tryTcp(to(8080), 500), 'TIMEOUT', 'after a change, too')
    nft(host.netns, 'delete table inet user')
    t.equal((await ask(to(8080))).target, 80)
    await host.run('scale', '-p', 'prt', 'web=2')
  })

  // Scenario 39 waits; this is what a user can do until then.
  t.test('a firewall that drops what is forwarded, and lets ptl-* pass', async t => {
    run(host.netns, 'iptables', '-P', 'FORWARD', 'DROP')
    run(host.netns, 'iptables', '-A', 'FORWARD', '-i', 'ptl-+', '-j', 'ACCEPT')
    run(host.netns, 'iptables', '-A', 'FORWARD', '-o', 'ptl-+', '-j', 'ACCEPT')
    t.equal((await ask(to(8080))).address, clientAddress.v4)
    run(host.netns, 'iptables', '-P', 'FORWARD', 'ACCEPT')
    run(host.netns, 'iptables', '-F')
  })

  scenario([7], 'SCTP where the kernel tracks it, or a refusal that says so', async t => {
    const path = host.writeFile('other.yaml', other("'9999:9999/sctp'"))
    const { code, stderr } = await host.cli('up', '-d', '-f', path)
    if (code === 0) await host.run('down', '-p', 'other', '-t', '0')
    else t.match(stderr, /^portolan: Cannot publish an SCTP port of service "web": [^\n]+\n$/)
  })

  scenario([37], 'strict rp_filter on every link of host and replicas', async t => {
    const replicas = await replicasOf(host, 'web')
    const strict = 'for f in /proc/sys/net/ipv4/conf/*; do echo 1 >$f/rp_filter; done'
    run(host.netns, 'sh', '-c', strict)
    for (const { name } of replicas) {
      const exceptOurs = strict.replace('; do', '; do case $f in *ingress0) continue;; esac;')
      run(await host.netnsOf(name), 'sh', '-c', exceptOurs)
    }
    for (const address of [hostAddress.v4, otherHostAddress]) {
      t.equal((await ask(to(8080, address))).address, clientAddress.v4)
    }
    t.match((await askUdp(to(5300))).heard, { address: clientAddress.v4 })
    const inside = await host.netnsOf('prt-tcp-1')
    t.equal((await ask({ netns: inside, address: hostAddress.v4, port: 8080 })).target, 80)
    t.equal((await ask({ netns: host.netns, address: '127.0.0.1', port: 8080 })).target, 80)
  })

  scenario([43], "a replica's own firewall marks", async t => {
    const inside = await host.netnsOf('prt-tcp-1')
    run(inside, 'iptables', '-t', 'mangle', '-A', 'OUTPUT', '-j', 'MARK', '--set-mark', '0x539')
    t.equal(await tryTcp(to(5300), 2_000), 'connected')
    run(inside, 'iptables', '-t', 'mangle', '-F')
  })

  assertScenarios(t, 'ports', scenario.numbers)
})

function run(netns: Netns, program: string, ...words: readonly string[]): string {
  const { status, stdout, stderr } = runInNetns(netns, () =>
    spawnSync(program, words, { encoding: 'utf8' }),
  )
  if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${stderr}`)
  return stdout
}

function nft(netns: Netns, text: string): void {
  const { status, stderr } = runInNetns(netns, () =>
    spawnSync('nft', ['-f', '-'], { input: text, encoding: 'utf8' }),
  )
  if (status !== 0) throw new Error(`nft: ${stderr}`)
}
