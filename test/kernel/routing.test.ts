import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  addNeighbour,
  listNeighbours,
  parseNeighbour,
  reconcileNeighbours,
  removeNeighbour,
} from '../../src/kernel/neighbour.js'
import { netlinkWrites } from '../../src/kernel/netlink.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import {
  listTableRoutes,
  parseTableRoute,
  reconcileRoutes,
  removeRoute,
  replaceRoute,
  type TableRoute,
} from '../../src/kernel/routing.js'
import {
  addAddress,
  createVeth,
  getLink,
  moveLinkToNetns,
  updateLink,
} from '../../src/kernel/rtnetlink.js'
import {
  addRule,
  listRules,
  parseRule,
  reconcileRules,
  removeRule,
  type Rule,
} from '../../src/kernel/rules.js'
import { asRoot, ip, run } from '../drivers/lab.js'

const TABLE = 4201
/** One that no program in /etc/iproute2/rt_protos has. */
const PROTOCOL = 142
const isOurs = (rule: Rule): boolean => rule.protocol === PROTOCOL

interface Box {
  readonly netns: Netns
  readonly index: number
  at<T>(body: () => T): T
}

/** A namespace with `eth0` up, 10.0.1.5/24 and fd00:1::5/64. */
function openBox(t: Test): Box {
  const [netns, there] = [createNetns(), createNetns()]
  t.teardown(() => [netns, there].forEach(closeNetns))
  runInNetns(there, () => createVeth({ name: 'peer', isUp: true }, { name: 'eth0' }, netns))
  const at = <T>(body: () => T): T => runInNetns(netns, body)
  const index = at(() => {
    const eth0 = getLink('eth0')?.index ?? 0
    updateLink(eth0, { isUp: true })
    addAddress(eth0, '10.0.1.5/24')
    addAddress(eth0, 'fd00:1::5/64')
    return eth0
  })
  return { netns, index, at }
}

/** The requests that change something while `body` runs. */
function writesOf(body: () => void): number {
  const before = netlinkWrites.count
  body()
  return netlinkWrites.count - before
}

function markRule(value: number, changes: Partial<Rule> = {}): Rule {
  const mark = { value, mask: 0xff00 }
  return { family: 4, priority: 100, table: TABLE, mark, protocol: PROTOCOL, ...changes }
}

t.test('addRule() makes what ip reads, in both families', asRoot, async t => {
  const { netns, at } = openBox(t)
  at(() => {
    t.equal(addRule(markRule(0x1100)), true)
    t.equal(addRule(markRule(0x1100)), false, 'it is there')
    addRule({ family: 6, priority: 101, table: 200, source: 'fd00:1::/64', protocol: PROTOCOL })
    addRule({ ...markRule(0x1200), inputLink: 'eth0', destination: '10.9.0.0/16' })
  })
  const rules = ip(netns, 'rule', 'show', 'priority', '100')
  t.match(rules, [
    { fwmark: '0x1100', fwmask: '0xff00', table: `${TABLE}`, protocol: `${PROTOCOL}` },
    { fwmark: '0x1200', iif: 'eth0', dst: '10.9.0.0', dstlen: 16 },
  ])
  t.match(ip(netns, '-6', 'rule', 'show', 'priority', '101'), [
    { src: 'fd00:1::', srclen: 64, table: '200' },
  ])
})

t.test('listRules() reads what ip made', asRoot, async t => {
  const { netns, at } = openBox(t)
  run(netns, 'ip', ...'rule add from 10.7.0.0/16 fwmark 7 lookup 77 priority 50'.split(' '))
  const rules = at(() => listRules())
  t.match(rules.slice(0, 2), [
    { family: 4, priority: 0, table: 255, mark: undefined, protocol: 2 },
    {
      family: 4,
      priority: 50,
      table: 77,
      source: '10.7.0.0/16',
      mark: { value: 7, mask: 0xffff_ffff },
      protocol: 0,
    },
  ])
  t.ok(rules.some(rule => rule.family === 6 && rule.table === 254))
})

t.test('removeRule() leaves the rule of another mark and of another maker', asRoot, async t => {
  const { netns, at } = openBox(t)
  const foreign = ['fwmark', '0x1100/0xff00', 'lookup', `${TABLE}`, 'priority', '100']
  run(netns, 'ip', 'rule', 'add', ...foreign, 'protocol', 'static')
  at(() => {
    addRule(markRule(0x1100))
    addRule(markRule(0x1200))
    t.equal(removeRule(markRule(0x1100)), true)
    t.equal(removeRule(markRule(0x1100)), false)
  })
  t.match(ip(netns, 'rule', 'show', 'priority', '100'), [
    { fwmark: '0x1100', protocol: 'static' },
    { fwmark: '0x1200', protocol: `${PROTOCOL}` },
  ])
})

t.test('reconcileRules() writes the differences and leaves what is not ours', asRoot, async t => {
  const { netns, at } = openBox(t)
  run(netns, 'ip', ...'rule add fwmark 9 lookup 77 priority 100'.split(' '))
  const wanted = [markRule(0x1100), markRule(0x1200), markRule(0x1100, { family: 6 })]
  at(() => {
    t.equal(reconcileRules(wanted, isOurs), 3)
    t.equal(
      writesOf(() => reconcileRules(wanted, isOurs)),
      0,
    )
    t.equal(reconcileRules([...wanted.slice(1), markRule(0x1300)], isOurs), 2)
  })
  const marks = ip(netns, 'rule', 'show', 'priority', '100').map(rule => rule.fwmark)
  t.strictSame([...marks].sort(), ['0x1200', '0x1300', '0x9'])
  at(() => reconcileRules([], isOurs))
  t.equal(ip(netns, 'rule', 'show', 'priority', '100').length, 1)
})

/** One of each kind that a table may hold, on link `index`. */
function samples(index: number): readonly TableRoute[] {
  return [
    { family: 4, type: 'unicast', gateway: '10.0.1.1', index },
    { family: 4, type: 'unicast', gateway: '192.0.2.1', index, isOnlink: true, metric: 7 },
    { family: 4, type: 'unicast', destination: '10.2.0.0/16', index, source: '10.0.1.5' },
    { family: 4, type: 'local', destination: '10.3.0.1/32', index: 1 },
    { family: 4, type: 'blackhole', destination: '10.4.0.0/16' },
    { family: 4, type: 'unreachable', metric: 900 },
    { family: 6, type: 'unicast', gateway: 'fd00:1::1', index, source: 'fd00:1::5' },
    { family: 6, type: 'unicast', gateway: '2001:db8::1', index, isOnlink: true, metric: 7 },
    { family: 6, type: 'unicast', destination: 'fd00:2::/64', index },
    { family: 6, type: 'local', destination: 'fd00:3::/64', index: 1 },
    { family: 6, type: 'blackhole', destination: 'fd00:4::/64' },
    { family: 6, type: 'unreachable', metric: 900 },
  ]
}

t.test('reconcileRoutes() puts every kind of route once, and takes them away', asRoot, async t => {
  const { netns, index, at } = openBox(t)
  const wanted = samples(index)
  at(() => {
    t.equal(reconcileRoutes(TABLE, wanted), wanted.length)
    t.equal(
      writesOf(() => reconcileRoutes(TABLE, wanted)),
      0,
    )
    t.equal(listTableRoutes(TABLE).length, wanted.length)
  })
  const shown = (family: string): string =>
    run(netns, 'ip', family, 'route', 'show', 'table', `${TABLE}`)
  for (const line of [
    'default via 10.0.1.1 dev eth0 proto static',
    'default via 192.0.2.1 dev eth0 proto static metric 7 onlink',
    '10.2.0.0/16 dev eth0 proto static scope link src 10.0.1.5',
    'local 10.3.0.1 dev lo proto static scope host',
    'blackhole 10.4.0.0/16 proto static',
    'unreachable default proto static metric 900',
  ]) {
    t.match(shown('-4'), line)
  }
  t.match(shown('-6'), /default via fd00:1::1 dev eth0 proto static src fd00:1::5 metric 1024/)
  t.match(shown('-6'), /default via 2001:db8::1 dev eth0 proto static metric 7 onlink/)
  at(() => {
    t.equal(reconcileRoutes(TABLE, []), wanted.length)
    t.strictSame(listTableRoutes(TABLE), [])
  })
  t.equal(shown('-4') + shown('-6'), '')
})

for (const family of [4, 6] as const) {
  t.test(
    `reconcileRoutes() moves a default route of IPv${family} in one write`,
    asRoot,
    async t => {
      const { netns, index, at } = openBox(t)
      const gateway = (n: number): string => (family === 4 ? `10.0.1.${n}` : `fd00:1::${n}`)
      const via = (n: number): TableRoute => ({
        family,
        type: 'unicast',
        gateway: gateway(n),
        index,
      })
      at(() => {
        reconcileRoutes(TABLE, [via(1)])
        t.equal(
          writesOf(() => reconcileRoutes(TABLE, [via(2)])),
          1,
        )
        t.match(listTableRoutes(TABLE), [{ gateway: gateway(2) }])
        t.equal(
          writesOf(() => reconcileRoutes(TABLE, [{ family, type: 'unreachable' }])),
          1,
        )
        t.match(listTableRoutes(TABLE), [{ type: 'unreachable' }])
        reconcileRoutes(TABLE, [via(3)])
      })
      const line = ['route', 'append', 'default', 'via', gateway(4), 'dev', 'eth0', 'table']
      run(netns, 'ip', `-${family}`, ...line, `${TABLE}`)
      at(() => {
        reconcileRoutes(TABLE, [via(3)])
        t.match(listTableRoutes(TABLE), [{ gateway: gateway(3) }], 'a second one is taken away')
      })
    },
  )
}

t.test('replaceRoute() and removeRoute() touch no other table', asRoot, async t => {
  const { netns, index, at } = openBox(t)
  const route: TableRoute = { family: 4, type: 'unicast', gateway: '10.0.1.1', index }
  at(() => {
    replaceRoute(TABLE, route)
    replaceRoute(TABLE + 1, route)
    t.equal(removeRoute(TABLE, route), true)
    t.equal(removeRoute(TABLE, route), false)
  })
  t.match(ip(netns, 'route', 'show', 'table', `${TABLE + 1}`), [{ gateway: '10.0.1.1' }])
  t.strictSame(ip(netns, 'route', 'show', 'default'), [], 'nor the main one')
})

t.test('a route that cannot be says why', asRoot, async t => {
  const { index, at } = openBox(t)
  const route: TableRoute = { family: 4, type: 'unicast', gateway: '192.0.2.1', index }
  t.throws(() => at(() => replaceRoute(TABLE, route)), {
    name: 'KernelError',
    code: 'ENETUNREACH',
    message: /put the IPv4 route "default" of table 4201/,
  })
})

t.test('reconcileNeighbours() keeps permanent neighbours and heeds no others', asRoot, async t => {
  const { netns, index, at } = openBox(t)
  run(netns, 'ip', ...'neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud stale'.split(' '))
  const wanted = [
    { address: '10.0.1.7', mac: '02:00:00:00:00:07' },
    { address: 'fd00:1:0::7', mac: '02:00:00:00:00:0A' },
  ]
  at(() => {
    t.equal(reconcileNeighbours(index, wanted), 2)
    t.equal(
      writesOf(() => reconcileNeighbours(index, wanted)),
      0,
    )
  })
  const shown = run(netns, 'ip', 'neigh', 'show', 'nud', 'permanent')
  t.match(shown, '10.0.1.7 dev eth0 lladdr 02:00:00:00:00:07')
  t.match(shown, 'fd00:1::7 dev eth0 lladdr 02:00:00:00:00:0a')
  at(() => {
    addNeighbour(index, { address: '10.0.1.7', mac: '02:00:00:00:00:08' })
    t.equal(reconcileNeighbours(index, wanted.slice(0, 1)), 2)
    t.strictSame(listNeighbours(index), wanted.slice(0, 1))
    t.equal(removeNeighbour(index, '10.0.1.7'), true)
    t.equal(removeNeighbour(index, '10.0.1.7'), false)
  })
  t.match(run(netns, 'ip', 'neigh', 'show'), '10.0.1.9')
})

t.test('moveLinkToNetns() takes a link away from here', asRoot, async t => {
  const { netns, at, index } = openBox(t)
  const there = createNetns()
  t.teardown(() => closeNetns(there))
  at(() => moveLinkToNetns(index, there))
  t.match(ip(there, 'link', 'show', 'eth0'), [{ operstate: 'DOWN' }])
  t.equal(ip(netns, 'link', 'show').length, 1)
})

t.test('the parsers of rules, routes and neighbours take any bytes', async () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.uint8Array({ minLength: 12, maxLength: 200 }).map(all => Uint8Array.from([2, ...all])),
  )
  fc.assert(
    fc.property(bytes, all => {
      const payload = Buffer.from(all)
      parseRule(payload)
      parseTableRoute(payload, payload[4] ?? 0)
      parseNeighbour(payload, 0)
    }),
  )
})
