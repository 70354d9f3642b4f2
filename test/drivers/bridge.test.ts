import t from 'tap'
import { openNftMonitor } from '../../src/kernel/monitor.js'
import { netlinkWrites } from '../../src/kernel/netlink.js'

import type { Netns } from '../../src/kernel/netns.js'
import { runInNetns } from '../../src/kernel/netns.js'
import type { NetworkSpec } from '../../src/catalog/network.js'
import {
  asRoot,
  attach,
  endpoint,
  INSTANCE,
  ip,
  network,
  openDriver,
  openLab,
  OUTSIDE,
  reaches,
  run,
  TABLE,
} from './lab.js'

/**
 * Requests that change links, addresses or routes, and nftables transactions at the host, during
 * `body`. Route events would count what the kernel does by itself later, such as a carrier.
 */
function changesDuring(host: Netns, body: () => void): number {
  const before = netlinkWrites.count
  const monitor = runInNetns(host, () => openNftMonitor())
  try {
    body()
    const { messages, overrun } = monitor.read()
    return netlinkWrites.count - before + messages.length + (overrun ? 1 : 0)
  } finally {
    monitor.close()
  }
}

t.test(
  'containers of one network reach each other and the outside, masqueraded',
  asRoot,
  async t => {
    const lab = openLab(t)
    const net = network(1, { hasIpv6: true })
    const [a, b] = [lab.sandbox(), lab.sandbox()]
    lab.at(() => lab.driver.reconcileNetworks([net]))
    attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
    attach(lab, b, [{ network: net, endpoint: endpoint(net, 6) }])
    t.ok(reaches(a, '10.0.1.6'), 'IPv4 neighbour')
    t.ok(reaches(a, 'fd00:1::6'), 'IPv6 neighbour')
    t.ok(reaches(a, '10.0.1.1'), 'gateway')
    t.ok(reaches(a, OUTSIDE.v4), 'IPv4 outside, which knows no way back to 10.0.1.0/24')
    t.ok(reaches(a, OUTSIDE.v6), 'IPv6 outside')
  },
)

t.test(
  'masquerade=false leaves the source address, so the outside cannot reply',
  asRoot,
  async t => {
    const lab = openLab(t)
    const net = network(1, { options: { masquerade: 'false' } })
    const a = lab.sandbox()
    lab.at(() => lab.driver.reconcileNetworks([net]))
    attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
    t.notOk(reaches(a, OUTSIDE.v4))
    run(lab.outside, 'ip', 'route', 'add', '10.0.1.0/24', 'via', '203.0.113.1')
    t.ok(reaches(a, OUTSIDE.v4), 'with a route back it does')
  },
)

t.test(
  'two networks do not reach each other, not even by way of the other gateway',
  asRoot,
  async t => {
    const lab = openLab(t)
    const [one, two] = [network(1), network(2)]
    const [a, b] = [lab.sandbox(), lab.sandbox()]
    lab.at(() => lab.driver.reconcileNetworks([one, two]))
    attach(lab, a, [{ network: one, endpoint: endpoint(one, 5) }])
    attach(lab, b, [{ network: two, endpoint: endpoint(two, 5) }])
    t.notOk(reaches(a, '10.0.2.5'))
    t.ok(reaches(b, OUTSIDE.v4), 'while the second leaves')
  },
)

t.test('an internal network neither leaves nor is entered', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1, { isInternal: true })
  const open = network(2)
  const [a, b] = [lab.sandbox(), lab.sandbox()]
  lab.at(() => lab.driver.reconcileNetworks([net, open]))
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  attach(lab, b, [{ network: net, endpoint: endpoint(net, 6) }])
  t.ok(reaches(a, '10.0.1.6'), 'neighbour')
  t.strictSame(ip(a, 'route', 'show', 'default'), [], 'no default route')
  run(a, 'ip', 'route', 'add', 'default', 'via', '10.0.1.1')
  t.notOk(reaches(a, OUTSIDE.v4), 'a route of its own does not help')
  run(lab.outside, 'ip', 'route', 'add', '10.0.1.0/24', 'via', '203.0.113.1')
  t.notOk(reaches(lab.outside, '10.0.1.5'), 'from outside')
})

t.test('icc=false: containers reach the outside and not each other', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1, { options: { 'com.docker.network.bridge.enable_icc': 'false' } })
  const [a, b] = [lab.sandbox(), lab.sandbox()]
  lab.at(() => lab.driver.reconcileNetworks([net]))
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  attach(lab, b, [{ network: net, endpoint: endpoint(net, 6) }])
  t.notOk(reaches(a, '10.0.1.6'))
  t.ok(reaches(a, OUTSIDE.v4))
})

t.test('icc=false: containers do not reach each other by way of the gateway', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1, { options: { icc: 'false' } })
  const [a, b] = [lab.sandbox(), lab.sandbox()]
  lab.at(() => lab.driver.reconcileNetworks([net]))
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  attach(lab, b, [{ network: net, endpoint: endpoint(net, 6) }])
  run(a, 'ip', 'route', 'add', '10.0.1.6/32', 'via', '10.0.1.1')
  run(b, 'ip', 'route', 'add', '10.0.1.5/32', 'via', '10.0.1.1')
  t.notOk(reaches(a, '10.0.1.6'))
})

t.test('icc=false is mended on a port that lost its isolation', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1, { options: { icc: 'false' } })
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([net]))
  const attached = [{ network: net, endpoint: endpoint(net, 5) }]
  attach(lab, a, attached)
  const port = String(ip(lab.host, 'link', 'show', 'master', 'ptl-net1')[0]?.['ifname'])
  run(lab.host, 'bridge', 'link', 'set', 'dev', port, 'isolated', 'off')
  attach(lab, a, attached)
  t.match(run(lab.host, 'bridge', '-d', 'link', 'show', 'dev', port), 'isolated on')
})

t.test('mtu, MAC, address and name inside are those of the endpoint', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1, { options: { mtu: '1400' } })
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([net]))
  const attached = endpoint(net, 5)
  attach(lab, a, [{ network: net, endpoint: attached }])
  const [eth0] = ip(a, 'address', 'show', 'dev', 'eth0')
  t.match(eth0, {
    ifname: 'eth0',
    mtu: 1400,
    address: attached.mac,
    operstate: 'UP',
    addr_info: [{ family: 'inet', local: '10.0.1.5', prefixlen: 24 }],
  })
  t.match(ip(lab.host, 'link', 'show', 'ptl-net1'), [
    { mtu: 1400, ifalias: `portolan:${INSTANCE}:network:${net.id}` },
  ])
})

t.test('IPv6 stays off in a sandbox whose network has none', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1)
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([net]))
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  t.strictSame(run(a, 'ip', '-6', 'address', 'show', 'dev', 'eth0'), '')
  t.equal(run(a, 'sysctl', '-n', 'net.ipv6.conf.eth0.accept_ra').trim(), '0')
})

t.test('a second reconcile changes nothing, by the same daemon or the next', asRoot, async t => {
  const lab = openLab(t)
  const nets = [network(1, { hasIpv6: true }), network(2, { isInternal: true })] as const
  const a = lab.sandbox()
  const endpoints = nets.map((net, i) => ({
    network: net,
    endpoint: endpoint(net, 5, `eth${i}`),
  }))
  const reconcile = (driver = lab.driver): void => {
    lab.at(() => driver.reconcileNetworks(nets))
    attach(lab, a, endpoints, driver)
  }
  t.ok(changesDuring(lab.host, reconcile) > 0, 'the first one does')
  t.equal(changesDuring(lab.host, reconcile), 0)
  const next = lab.at(() => openDriver())
  const before = ip(lab.host, 'link', 'show').map(({ ifindex }) => ifindex)
  reconcile(next)
  t.strictSame(
    ip(lab.host, 'link', 'show').map(({ ifindex }) => ifindex),
    before,
    'the next daemon adopts every link',
  )
  t.ok(reaches(a, OUTSIDE.v4))
})

t.test('a network is joined and left while the sandbox runs', asRoot, async t => {
  const lab = openLab(t)
  const [one, two] = [network(1), network(2)]
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([one, two]))
  const first = { network: one, endpoint: endpoint(one, 5) }
  const second = { network: two, endpoint: endpoint(two, 5, 'eth1') }
  attach(lab, a, [first])
  attach(lab, a, [first, second])
  t.ok(reaches(a, '10.0.2.1'), 'joined')
  t.match(ip(a, 'route', 'show', 'default'), [{ gateway: '10.0.1.1' }])
  attach(lab, a, [second])
  await lab.driver.settled()
  t.strictSame(
    ip(a, 'link', 'show').map(({ ifname }) => ifname),
    ['lo', 'eth1'],
  )
  t.match(ip(a, 'route', 'show', 'default'), [{ gateway: '10.0.2.1' }], 'the route moved')
})

t.test('sweep() removes what a crash left of ours, and nothing else', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1)
  const [a, b] = [lab.sandbox(), lab.sandbox()]
  lab.at(() => lab.driver.reconcileNetworks([net]))
  const [kept, stale] = [endpoint(net, 5), endpoint(net, 6)]
  attach(lab, a, [{ network: net, endpoint: kept }])
  attach(lab, b, [{ network: net, endpoint: stale }])
  run(lab.host, 'ip', 'link', 'add', 'pvforeign', 'type', 'bridge')
  run(lab.host, 'ip', 'link', 'add', 'ptl-other', 'type', 'bridge')
  run(lab.host, 'ip', 'link', 'set', 'ptl-other', 'alias', 'portolan:other:network:1')
  const next = lab.at(() => openDriver())
  lab.at(() => next.reconcileNetworks([net]))
  lab.at(() => next.sweep(new Set([kept.id])))
  await next.settled()
  t.ok(reaches(a, '10.0.1.1'), 'the other one still has its network')
  t.strictSame(
    ip(b, 'link', 'show').map(({ ifname }) => ifname),
    ['lo'],
  )
  t.ok(ip(lab.host, 'link', 'show', 'pvforeign').length === 1, 'a link without our mark')
  t.ok(ip(lab.host, 'link', 'show', 'ptl-other').length === 1, 'a link of another instance')
})

t.test("a foreign link in a bridge's name is left alone and gone round", asRoot, async t => {
  const lab = openLab(t)
  run(lab.host, 'ip', 'link', 'add', 'ptl-net1', 'type', 'bridge')
  const [before] = ip(lab.host, 'link', 'show', 'ptl-net1')
  const net = network(1)
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([net]))
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  t.ok(reaches(a, OUTSIDE.v4))
  t.strictSame(ip(lab.host, 'link', 'show', 'ptl-net1'), [before])
})

t.test(
  'reconcileNetworks() removes the bridge and the rules of a removed network',
  asRoot,
  async t => {
    const lab = openLab(t)
    lab.at(() => lab.driver.reconcileNetworks([network(1)]))
    t.equal(ip(lab.host, 'link', 'show', 'type', 'bridge').length, 1)
    lab.at(() => lab.driver.reconcileNetworks([]))
    await lab.driver.settled()
    t.equal(ip(lab.host, 'link', 'show', 'type', 'bridge').length, 0)
    t.notMatch(run(lab.host, 'nft', 'list', 'tables'), TABLE)
  },
)

t.test('reconcileNetworks() puts a deleted table back', asRoot, async t => {
  const lab = openLab(t)
  const nets = [network(1)]
  lab.at(() => lab.driver.reconcileNetworks(nets))
  const before = run(lab.host, 'nft', 'list', 'table', 'inet', TABLE)
  run(lab.host, 'nft', 'flush', 'ruleset')
  lab.at(() => lab.driver.reconcileNetworks(nets))
  t.equal(run(lab.host, 'nft', 'list', 'table', 'inet', TABLE), before)
})

t.test('reconcileNetworks() puts flushed rules of its table back', asRoot, async t => {
  const lab = openLab(t)
  const nets = [network(1)]
  lab.at(() => lab.driver.reconcileNetworks(nets))
  const before = run(lab.host, 'nft', 'list', 'table', 'inet', TABLE)
  run(lab.host, 'nft', 'flush', 'table', 'inet', TABLE)
  lab.at(() => lab.driver.reconcileNetworks(nets))
  t.equal(run(lab.host, 'nft', 'list', 'table', 'inet', TABLE), before)
})

t.test(
  "a bridge keeps its MAC when containers come and go, so neighbours' caches stay true",
  asRoot,
  async t => {
    const lab = openLab(t)
    const net = network(1)
    const mac = (): unknown => ip(lab.host, 'link', 'show', 'ptl-net1')[0]?.['address']
    lab.at(() => lab.driver.reconcileNetworks([net]))
    const seen = new Set([mac()])
    for (const host of [5, 6, 7, 8, 9, 10]) {
      attach(lab, lab.sandbox(), [{ network: net, endpoint: endpoint(net, host) }])
      seen.add(mac())
    }
    t.equal(seen.size, 1)
  },
)

t.test('an endpoint whose old sandbox still stands moves to the new one', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1)
  const [old, next] = [lab.sandbox(), lab.sandbox()]
  lab.at(() => lab.driver.reconcileNetworks([net]))
  const attached = { network: net, endpoint: endpoint(net, 5) }
  attach(lab, old, [attached])
  const driver = lab.at(() => openDriver())
  lab.at(() => driver.reconcileNetworks([net]))
  attach(lab, next, [attached], driver)
  t.ok(reaches(next, '10.0.1.1'))
})

t.test('a default route that the container made by another link stays', asRoot, async t => {
  const lab = openLab(t)
  const net = network(1)
  const a = lab.sandbox()
  lab.at(() => lab.driver.reconcileNetworks([net]))
  run(a, 'ip', 'link', 'add', 'vpn0', 'type', 'bridge')
  run(a, 'ip', 'address', 'add', '192.0.2.2/24', 'dev', 'vpn0')
  run(a, 'ip', 'link', 'set', 'vpn0', 'up')
  run(a, 'ip', 'route', 'add', 'default', 'via', '192.0.2.1', 'metric', '50')
  attach(lab, a, [{ network: net, endpoint: endpoint(net, 5) }])
  t.match(ip(a, 'route', 'show', 'default', 'dev', 'vpn0'), [{ gateway: '192.0.2.1' }])
})

t.test('check() says what is wrong with an option in one sentence', asRoot, async t => {
  const driver = openDriver()
  const spec = (options: Record<string, string>, hasIpv6 = false): NetworkSpec =>
    network(1, { options, hasIpv6 })
  const refused = [
    { name: 'unknown', options: { nosuch: '1' }, code: 'DRIVER_UNKNOWN_OPTION' },
    { name: 'mtu below IPv4', options: { mtu: '67' }, code: 'DRIVER_BAD_OPTION' },
    { name: 'mtu above Ethernet', options: { mtu: '70000' }, code: 'DRIVER_BAD_OPTION' },
    { name: 'neither true nor false', options: { icc: 'maybe' }, code: 'DRIVER_BAD_OPTION' },
    { name: 'name too long', options: { name: 'sixteen-letters-' }, code: 'DRIVER_BAD_OPTION' },
  ]
  for (const { name, options, code } of refused) {
    t.throws(() => driver.check(spec(options)), { name: 'DriverError', code }, name)
  }
  t.throws(() => driver.check(spec({ mtu: '1279' }, true)), { code: 'DRIVER_BAD_OPTION' })
  t.doesNotThrow(() => driver.check(spec({ 'com.docker.network.driver.mtu': '1279' })))
  t.doesNotThrow(() => driver.check(spec({ masquerade: 'false' })))
})
