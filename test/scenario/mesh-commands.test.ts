/** The commands of the mesh: what they print, what they refuse, and which dataplane a node takes. */

import t from 'tap'
import { asRoot, openHost } from '../lab/host.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { hostAddress, joinOutside } from '../lab/outside-client.js'
import { bringUp, replica, untilServing } from '../lab/replicas.js'
import { ask, askUdp } from '../lab/traffic.js'

const composeFile = `
name: shop
services:
  web:
    scale: 3
    command: ${replica('http:80', 'udp:82')}
    ports: ['8080:80', '8082:82/udp']
    networks: [front]
networks: { front: {} }
`

const notThere = [
  {
    words: ['mesh', 'trace', '8099'],
    reason: /Port 8099 is not published here; published: 8080\/tcp, 8082\/udp/,
  },
  { words: ['mesh', 'trace', '8080/udp'], reason: /Port 8080\/udp is not published/ },
  {
    words: ['service', 'update', 'nobody', '--scheduler', 'rr'],
    reason: /no service "nobody"; there are shop\/web/,
  },
  { words: ['service', 'update', 'web', '--weight', '9=1'], reason: /has no replica 9; it has \d/ },
  { words: ['scale', 'nobody=1'], reason: /nobody/ },
  { words: ['drain', 'shop-web-9'], reason: /shop-web-9/ },
] as const

const wrong = [
  ['mesh', 'trace'],
  ['mesh', 'trace', 'web'],
  ['mesh', 'trace', '0'],
  ['mesh', 'trace', '65536'],
  ['mesh', 'trace', '53/icmp'],
  ['service', 'update', 'web'],
  ['service', 'update', 'web', '--scheduler', 'fair'],
  ['service', 'update', 'web', '--affinity', 'cookie'],
  ['service', 'update', 'web', '--affinity-timeout', 'soon'],
  ['service', 'update', 'web', '--weight', '1=0'],
  ['service', 'update', 'web', '--weight', '1'],
  ['drain'],
  ['drain', '--timeout', 'x', 'shop-web-1'],
  ['scale', 'web'],
  ['scale', 'web=-1'],
  ['daemon', '--dataplane', 'magic'],
] as const

t.test('commands', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  const scenario = byScenario(t)
  await bringUp(host, 'shop', composeFile)
  await untilServing(host, 8080, 3)

  t.test('services: addresses, ports, replicas ready of wanted, and the dataplane', async t => {
    const [head, line, , dataplane] = (await host.run('services')).trim().split('\n')
    t.match(head, /^SERVICE +MODE +VIRTUAL ADDRESSES +PORTS +READY +SCHEDULER$/)
    t.match(line, /^shop\/web +vip +\S*front [\d.]+ +8080->80\/tcp, 8082->82\/udp +3\/3 +rr$/)
    t.match(dataplane, /^Dataplane: nftables, not ipvs: /)
  })

  t.test('mesh ls: published port, virtual address, replicas', async t => {
    await ask({ netns, address: hostAddress.v4, port: 8080 })
    const said = await host.run('mesh', 'ls')
    t.match(said, /^PUBLISHED +SERVICE +VIRTUAL ADDRESS +SCHEDULER +REPLICA +WEIGHT +STATE +ACTIVE/)
    t.match(said, /\n8080->80\/tcp +shop\/web +[\d.]+ +rr +shop-web-1 +1 +ready +\d+ +[\d.]+ k?B/)
    t.match(said, /\n +shop-web-2 +1 +ready/)
    t.match(said, /\n8082->82\/udp +shop\/web/)
    t.match(said, /\nDataplane: nftables, /)
    const json = JSON.parse(await host.run('mesh', 'ls', '--json'))
    t.match(json, {
      dataplane: { kind: 'nftables' },
      ports: [{ published: 8080 }, { published: 8082 }],
    })
  })

  t.test('mesh trace: hop by hop', async t => {
    const said = await host.run('mesh', 'trace', '8080')
    t.match(said, /^A new connection to 8080\/tcp of this node, for shop\/web:\n1\. /)
    for (const n of [1, 2, 3]) t.match(said, new RegExp(`\\d\\. sandbox of shop-web-${n}: `))
    t.match(await host.run('mesh', 'trace', '8082/udp'), /led to port 82/)
  })

  scenario(
    [71, 106],
    'a scheduler that this dataplane has not is refused with the reason',
    async t => {
      const refused = await host.cli(
        ...['service', 'update', 'web', '--scheduler', 'lc', '--affinity', 'client-ip'],
      )
      t.equal(refused.code, 1)
      t.match(refused.stderr, /^portolan: Cannot balance service "web" by lc: nftables [^\n]+\n$/)
      t.match(await host.run('services'), / rr\n/, 'nothing is changed')
      await host.run('service', 'update', 'shop/web', '--affinity', 'client-ip')
      t.match(await host.run('services'), / rr, client-ip\n/)
      const met = new Set<string>()
      for (let i = 0; i < 10; i++) {
        met.add((await ask({ netns, address: hostAddress.v4, port: 8080 })).host)
      }
      t.equal(met.size, 1)
      await host.run('service', 'update', 'web', '--affinity', 'none')
    },
  )

  t.test('scale and drain say what they did', async t => {
    t.match(await host.run('scale', 'web=2'), /2 containers running/)
    t.match(await host.run('drain', 'shop-web-2'), /shop-web-2 drained/)
    t.match(await host.run('mesh', 'ls'), /shop-web-2 +1 +draining/)
    t.match(await host.run('drain', '--undo', 'shop-web-2'), /takes connections again/)
  })

  t.test('what is not there is named, in one line', async t => {
    const results = await Promise.all(notThere.map(({ words }) => host.cli(...words)))
    for (const [i, { code, stderr }] of results.entries()) {
      t.equal(code, 1, stderr)
      t.match(stderr, notThere[i]?.reason ?? /^$/)
      t.match(stderr, /^portolan: [^\n]+\n$/)
    }
  })

  t.test('wrong arguments: exit code 2, one line', async t => {
    for (let i = 0; i < wrong.length; i += 4) {
      const some = wrong.slice(i, i + 4)
      const results = await Promise.all(some.map(words => host.cli(...words)))
      for (const [j, { code, stderr }] of results.entries()) {
        t.equal(code, 2, `${some[j]?.join(' ')}: ${stderr}`)
        t.match(stderr, /^portolan: [^\n]+\n$/)
      }
    }
  })

  scenario([106], 'ipvs is refused with the reason where the kernel has none', async t => {
    const status = await host.status()
    const ipvs = status.kernel.find(({ name }) => /ipvs/i.test(name))
    await host.run('down', '-p', 'shop', '-t', '0')
    await host.endDaemon()
    if (ipvs?.isAvailable === true) return t.comment('this kernel has it')
    const { code, stderr } = await host.cli('daemon', '--dataplane', 'ipvs')
    t.equal(code, 1)
    t.match(stderr, /^portolan: Cannot balance with ipvs: [^\n]+\n$/)
  })

  scenario([107], 'the userspace dataplane serves published ports', async t => {
    if (host.daemonPid !== undefined) await host.endDaemon()
    await host.startDaemon(['--dataplane', 'userspace'])
    t.match((await host.status()).dataplane, { kind: 'userspace' })
    await bringUp(host, 'shop', composeFile)
    await untilServing(host, 8080, 3)
    const met = new Set<string>()
    for (let i = 0; i < 12; i++) {
      met.add((await ask({ netns, address: hostAddress.v4, port: 8080 })).host)
    }
    t.equal(met.size, 3)
    t.match((await askUdp({ netns, address: hostAddress.v4, port: 8082 })).heard, { target: 82 })
    t.match(await host.run('services'), /\nDataplane: userspace, as asked for/)
    t.match(await host.run('mesh', 'trace', '8080'), /shop-web-3/)
  })

  assertScenarios(t, 'commands', scenario.numbers)
})
