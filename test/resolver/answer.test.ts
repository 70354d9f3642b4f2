import t from 'tap'
import { RCODE } from '../../resolver/rcode.js'
import { compileView } from '../../resolver/view.js'
import { compileZone, updateZone } from '../../resolver/zone.js'
import { C1_ID, C2_ID, MANY_ADDRESSES, NETWORKS } from '../fixtures/addresses.js'
import { VIEWS, answerTo, ask, summarize, viewOn } from '../fixtures/world.js'

type Row = readonly [client: keyof typeof VIEWS, question: string, expected: string]

function tellsEach(subject: string, rows: readonly Row[]): void {
  void t.test(subject, async t => {
    for (const [client, question, expected] of rows) {
      t.equal(summarize(ask(VIEWS[client], question)), expected, `${client} asks ${question}`)
    }
  })
}

tellsEach('respond() answers names, aliases and ids of attached networks', [
  ['c1', 'c2 A', '172.30.1.3'],
  ['c1', 'c1 A', '172.30.1.2'],
  ['c1', 'C2 A', '172.30.1.3'],
  ['c1', 'c2. A', '172.30.1.3'],
  ['c1', 'sHaReD A', '172.30.1.2 172.30.1.3'],
  ['c1', 'mixed A', '172.30.1.3'],
  ['c1', 'MIXED A', '172.30.1.3'],
  ['c1', `${C2_ID} A`, '172.30.1.3'],
  ['c1', `${C2_ID.slice(1)} A`, 'FWD'],
  ['c1', `${'b'.repeat(63)} A`, 'FWD'],
  ['c2', 'c1host A', '172.30.1.2'],
  ['c2', `${C1_ID} A`, '172.30.1.2'],
  ['c1', 'h1 A', '172.30.1.6'],
  ['c1', 'my.dotted.name A', '172.30.1.4'],
  ['c1', 'my.dotted.name.net1 A', '172.30.1.4'],
  ['c1', 'dotted.name A', 'FWD'],
  ['c1', 'c3 A', 'FWD'],
  ['c1', 'only2 A', 'FWD'],
  ['c1', 'trail A', '172.30.1.9'],
  ['c1', 'under_score A', '172.30.1.9'],
  ['c1', 'nosuch A', 'FWD'],
  ['c1', 'test A', 'FWD'],
  ['c1', '. NS', 'FWD'],
])

tellsEach('respond() matches wildcard aliases as RFC 4592 does', [
  ['c1', 'x.wild A', '172.30.1.7'],
  ['c1', 'x.y.wild A', '172.30.1.7'],
  ['c1', 'wild A', 'FWD'],
  ['c1', 'x.wild AAAA', 'ND wild.'],
  ['c1', '*.wild A', '172.30.1.7'],
  ['c1', 'x.wild.net1 A', '172.30.1.7'],
])

tellsEach('respond() knows link aliases of the asking sandbox only', [
  ['l1', 'Al2 A', '172.30.1.3'],
  ['l1', 'al2 A', '172.30.1.3'],
  ['l1', 'al2.net1 A', '172.30.1.3'],
  ['c1', 'al2 A', 'FWD'],
  ['l1', 'c2 A', '172.30.1.3'],
  ['linked', 'c1 A', '172.30.1.3'],
])

tellsEach('respond() answers names with a fixed meaning', [
  ['c1', 'localhost A', '127.0.0.1'],
  ['c1', 'localhost AAAA', '::1'],
  ['c1', 'a.b.localhost A', '127.0.0.1'],
  ['c1', 'localhost MX', 'ND localhost.'],
  ['c1', 'host.docker.internal A', '172.30.1.1'],
  ['c1', 'Gateway.Docker.Internal A', '172.30.1.1'],
  ['c2', 'host.docker.internal A', '172.30.2.1'],
  ['c2', 'host.containers.internal AAAA', 'fd00:2::1'],
  ['c3', 'host.docker.internal A', 'ND host.docker.internal.'],
  ['c1', 'foo.invalid A', 'NXDOMAIN invalid.'],
  ['c1', 'invalid A', 'NXDOMAIN .'],
  ['c1', 'foo.onion A', 'NXDOMAIN onion.'],
  ['c1', 'printer.local A', 'FWD'],
])

const noData = 'TXT HTTPS SVCB NS SOA CNAME CAA NAPTR TYPE999 MX SRV AAAA TYPE0 PTR'.split(' ')
tellsEach('respond() never forwards a type of a local name', [
  ...noData.map((type): Row => ['c1', `c2 ${type}`, 'ND c2.']),
  ['c2', 'c2.net2 AAAA', 'fd00:2::2'],
  ['s6', 's6b A', 'ND s6b.'],
  ['s6', 's6b AAAA', 'fd00:66::3'],
  ['s6', 's6b MX', 'ND s6b.'],
  ['c1', 'c2 ANY', '172.30.1.3'],
  ['c2', 'c2 ANY', '172.30.2.2 fd00:2::2'],
  ['c1', 'c2 AXFR', 'REFUSED'],
  ['c1', 'c2 IXFR', 'REFUSED'],
  ['c1', 'c2 OPT', 'FORMERR'],
  ['c1', 'c2 TSIG', 'FORMERR'],
  ['c1', 'test.example TXT', 'FWD'],
])

tellsEach('respond() splits name.network at each dot from the right', [
  ['c1', 'c2.net1 A', '172.30.1.3'],
  ['c1', 'c2.NET1 A', '172.30.1.3'],
  ['c1', 'c2.net1 AAAA', 'ND net1.'],
  ['c1', 'c2.net2 A', 'NXDOMAIN net2.'],
  ['c2', 'c2.net2 A', '172.30.2.2'],
  ['c2', 'c2.net1 A', '172.30.1.3'],
  ['c2', 'c2 A', '172.30.2.2'],
  ['d1', 'd1.my.net A', '172.30.5.2'],
  ['d1', 'd1.my.net AAAA', 'ND d1.my.net.'],
  ['d1', 'nosuch.my.net A', 'FWD'],
  ['c1', 'nosuch.net1 A', 'NXDOMAIN net1.'],
  ['c1', 'c2.net1.net1 A', 'NXDOMAIN net1.'],
  ['c1', 'dotted.name.net1 A', 'ND net1.'],
  ['c1', 'net1 A', 'ND net1.'],
  ['c1', 'net2 A', 'FWD'],
  ['c1', 'gateway.net1 A', '172.30.1.1'],
  ['c1', 'gateway A', 'FWD'],
  ['cli', 'two A', '172.30.11.2'],
  ['clip', 'two A', '172.30.12.2'],
  ['cli', 'dup A', '172.30.11.2'],
  ['cli', 'dup.bbb A', '172.30.12.2 172.30.12.3'],
  ['clip', 'dup A', '172.30.12.2 172.30.12.3'],
  ['external', 'dup A', '172.30.12.2 172.30.12.3'],
  ['external', 'dup.int2 A', '172.30.13.2'],
])

tellsEach('respond() serves the podman profile', [
  ['both', 'cboth A', '10.89.0.4 10.89.1.4'],
  ['unknown', 'aone A', '10.89.0.2'],
  ['unknown', 'bone A', 'FWD'],
  ['both', 'atwo.dns.podman A', '10.89.0.3'],
  ['both', 'atwo.neta.dns.podman A', '10.89.0.3'],
  ['both', 'nosuch.dns.podman A', 'NXDOMAIN dns.podman.'],
  ['both', 'dns.podman A', 'ND dns.podman.'],
  ['both', 'atwo.neta A', '10.89.0.3'],
  ['both', '3.0.89.10.in-addr.arpa PTR', '1111atwo. atwo. shared.'],
  ['podmanInternal', 'test.example A', 'NXDOMAIN .'],
])

/** The nibbles between the last and the network part of fd00:2::N. */
const ZEROS = '0.'.repeat(23)
tellsEach('respond() answers reverse names of its subnets and denies the rest of them', [
  ['c1', '3.1.30.172.in-addr.arpa PTR', 'c2.net1.'],
  ['c1', '3.1.30.172.IN-ADDR.ARPA PTR', 'c2.net1.'],
  ['c2', `2.${ZEROS}2.0.0.0.0.0.d.f.ip6.arpa PTR`, 'c2.net2.'],
  ['c2', `2.${ZEROS}2.0.0.0.0.0.D.F.IP6.ARPA PTR`, 'c2.net2.'],
  [
    'c2',
    `3.${ZEROS}2.0.0.0.0.0.d.f.ip6.arpa PTR`,
    `NXDOMAIN ${'0.'.repeat(8)}2.0.0.0.0.0.d.f.ip6.arpa.`,
  ],
  ['c1', '2.2.30.172.in-addr.arpa PTR', 'NXDOMAIN 2.30.172.in-addr.arpa.'],
  ['c1', '1.1.30.172.in-addr.arpa PTR', 'gateway.net1.'],
  ['c1', '250.1.30.172.in-addr.arpa PTR', 'NXDOMAIN 1.30.172.in-addr.arpa.'],
  ['c1', '1.30.172.in-addr.arpa PTR', 'ND 1.30.172.in-addr.arpa.'],
  ['c1', '30.172.in-addr.arpa PTR', 'FWD'],
  ['c1', '8.8.8.8.in-addr.arpa PTR', 'FWD'],
  ['c1', '3.1.30.172.in-addr.arpa A', 'ND 1.30.172.in-addr.arpa.'],
  ['c1', '300.1.30.172.in-addr.arpa PTR', 'NXDOMAIN 1.30.172.in-addr.arpa.'],
  ['c1', 'x.3.1.30.172.in-addr.arpa PTR', 'NXDOMAIN 1.30.172.in-addr.arpa.'],
  ['c3', '99.3.30.172.in-addr.arpa PTR', 'NXDOMAIN 3.30.172.in-addr.arpa.'],
  ['c3', '8.8.8.8.in-addr.arpa PTR', 'NXDOMAIN in-addr.arpa.'],
  ['task', '3.1.0.10.in-addr.arpa PTR', 'web.1.x.ov1.'],
  ['task', '2.1.0.10.in-addr.arpa PTR', 'web.ov1.'],
])

const rrTargets = '0 1 9000 rr.1.a.ov1. 0 1 9000 rr.2.b.ov1. 0 1 9000 rr.3.c.ov1.'
tellsEach('respond() answers services', [
  ['task', 'web A', '10.0.1.2'],
  ['task', 'tasks.web A', '10.0.1.3 10.0.1.4'],
  ['task', 'webal A', '10.0.1.2'],
  ['task', 'tasks.webal A', '10.0.1.3 10.0.1.4'],
  ['task', 'Tasks.Web A', '10.0.1.3 10.0.1.4'],
  ['task', 'web.ov1 A', '10.0.1.2'],
  ['task', 'tasks.web.ov1 A', '10.0.1.3 10.0.1.4'],
  ['task', 'rr A', '10.0.1.5 10.0.1.6 10.0.1.7'],
  ['task', 'tasks.rr A', '10.0.1.5 10.0.1.6 10.0.1.7'],
  ['task', 'web.1.x A', '10.0.1.3'],
  ['task', 'web.1.x.ov1 A', '10.0.1.3'],
  ['task', 'web AAAA', 'ND web.'],
  ['task', 'tasks.web AAAA', 'ND tasks.web.'],
  ['task', 'attal A', '10.0.1.9'],
  ['c1', 'web A', 'FWD'],
  ['task', 'zero A', '10.0.1.20'],
  ['task', 'tasks.zero A', 'ND tasks.zero.'],
  ['task', 'gate A', '10.0.1.12'],
  ['task', 'tasks.gate A', 'ND tasks.gate.'],
  ['task', 'gate.1.g A', 'ND gate.1.g.'],
  ['task', 'ov1-endpoint A', 'FWD'],
  ['task', '_http._tcp.web SRV', '0 1 80 web.ov1.'],
  ['task', '_80._tcp.web SRV', '0 1 80 web.ov1.'],
  ['task', '_HTTP._TCP.web.ov1 SRV', '0 1 80 web.ov1.'],
  ['task', '_api._tcp.rr SRV', rrTargets],
  ['task', '_http._udp.web SRV', 'NXDOMAIN web.'],
  ['task', '_tcp.web SRV', 'ND web.'],
  ['task', '_http._tcp.web A', 'ND _http._tcp.web.'],
  ['task', '_http._tcp.test.example SRV', 'FWD'],
  ['task', '_http._tcp.att SRV', 'NXDOMAIN att.'],
])

tellsEach('respond() lets nothing leave a sandbox without external access', [
  ['c3', 'test.example A', 'SERVFAIL'],
  ['c3', 'nosuch A', 'NXDOMAIN .'],
  ['c3', '. NS', 'SERVFAIL'],
  ['detached', 'nosuch A', 'NXDOMAIN .'],
  ['detached', 'test.example A', 'SERVFAIL'],
  ['detached', 'localhost A', '127.0.0.1'],
])

tellsEach('respond() leaves single labels to the search list where ndots is set', [
  ['ndots', 'test A', 'ND test.'],
  ['ndots', 'test.example A', 'FWD'],
  ['ndots', 'c2 A', '172.30.1.3'],
  ['closed', 'test A', 'NXDOMAIN .'],
])

t.test(
  'respond() forwards from an internal sandbox to servers on its own networks only',
  async t => {
    const host = { address: '127.0.0.1', via: 'host' } as const
    const own = { address: '172.30.3.9', via: 'sandbox' } as const
    const on = (upstreams: readonly (typeof host | typeof own)[]) =>
      viewOn(['intn'], { hasExternalAccess: false, forwarding: { upstreams } })
    t.equal(summarize(ask(on([host]), 'test.example A')), 'SERVFAIL')
    const both = on([host, own])
    t.equal(summarize(ask(both, 'test.example A')), 'FWD')
    t.strictSame(both.forwarding?.upstreams, [own])
  },
)

t.test('respond() says why it refuses in an extended error', async t => {
  const internal = ask(VIEWS.c3, 'test.example A', { edns: {} })
  t.match(internal, { rcode: RCODE.SERVFAIL, edns: { options: /^EDE 18 / } })
  const chaos = ask(VIEWS.c1, 'version.bind TXT', { class: 3, edns: {} })
  t.match(chaos, { rcode: RCODE.REFUSED, edns: { options: /^EDE 21 / } })
})

t.test('respond() refuses classes other than IN and ANY, and forwards none of them', async t => {
  for (const cls of [0, 2, 3, 4, 254]) {
    t.equal(summarize(ask(VIEWS.c1, 'c2 A', { class: cls })), 'REFUSED', `class ${cls}`)
    t.equal(summarize(ask(VIEWS.c1, 'test.example A', { class: cls })), 'REFUSED', `class ${cls}`)
  }
  t.match(ask(VIEWS.c1, 'c2 A', { class: 255 }), { answers: [{ class: 'IN', data: '172.30.1.3' }] })
})

t.test(
  'respond() gives endpoints TTL 0 and virtual IPs 600, unless the network says other',
  async t => {
    t.match(ask(VIEWS.c1, 'c2 A'), { answers: [{ ttl: 0 }] })
    t.match(ask(VIEWS.task, 'web A'), { answers: [{ ttl: 600 }] })
    t.match(ask(VIEWS.task, 'rr A'), { answers: [{ ttl: 0 }, { ttl: 0 }, { ttl: 0 }] })
    const zone = compileZone({ ...NETWORKS.ov1, ttlSeconds: 600, vipTtlSeconds: 5 })
    const view = compileView({ networks: [zone], hasExternalAccess: true })
    t.match(ask(view, 'att A'), { answers: [{ ttl: 600 }] })
    t.match(ask(view, 'web A'), { answers: [{ ttl: 5 }] })
  },
)

t.test('respond() puts the addresses of SRV targets into the additional section', async t => {
  const web = ask(VIEWS.task, '_http._tcp.web SRV')
  t.match(web, { additionals: [{ name: 'web.ov1.', type: 'A', data: '10.0.1.2' }] })
  const rr = answerTo(VIEWS.task, '_api._tcp.rr SRV')
  const pairs = rr.additionals.map(each => `${each.name} ${each.data}`).sort()
  t.strictSame(pairs, ['rr.1.a.ov1. 10.0.1.5', 'rr.2.b.ov1. 10.0.1.6', 'rr.3.c.ov1. 10.0.1.7'])
})

t.test('respond() merges a service alias with a container alias of the same spelling', async t => {
  const zone = updateZone(compileZone(NETWORKS.ov1), {
    endpoints: [{ id: 'att', name: 'att', aliases: ['x'], addresses: ['10.0.1.9'] }],
    services: [
      { name: 'one', aliases: ['x'], vips: ['10.0.1.31'], tasks: [], ports: [] },
      { name: 'two', aliases: ['x'], vips: ['10.0.1.32'], tasks: [], ports: [] },
    ],
  })
  const on = (network: typeof zone) => compileView({ networks: [network], hasExternalAccess: true })
  t.equal(summarize(ask(on(zone), 'x A')), '10.0.1.31 10.0.1.32 10.0.1.9')
  const less = updateZone(zone, { removedServices: [{ name: 'One' }] })
  t.equal(summarize(ask(on(less), 'x A')), '10.0.1.32 10.0.1.9')
})

t.test("respond() prefers the records of the asker's own group", async t => {
  const app = (group: string, host: number) =>
    ({
      id: group,
      name: `${group}-app-1`,
      aliases: ['app'],
      group,
      addresses: [`10.0.9.${host}`],
    }) as const
  const endpoints = [app('blue', 2), app('green', 3), { ...app('red', 4), addresses: [] }]
  const zone = compileZone({ name: 'shared', subnets: [], gateways: [], endpoints })
  const from = (group?: string) =>
    summarize(
      ask(
        compileView({
          networks: [zone],
          hasExternalAccess: true,
          ...(group === undefined ? {} : { group }),
        }),
        'app A',
      ),
    )
  t.equal(from('blue'), '10.0.9.2')
  t.equal(from('green'), '10.0.9.3')
  t.equal(from('red'), 'ND app.', 'a group without addresses does not hear its neighbours')
  t.equal(from('other'), '10.0.9.2 10.0.9.3')
  t.equal(from(), '10.0.9.2 10.0.9.3')
})

t.test('respond() gives a hostname to nobody while a container is called so', async t => {
  for (let i = 0; i < 50; i++) t.equal(summarize(ask(VIEWS.c1, 'c2 A')), '172.30.1.3')
})

t.test('respond() puts each address first equally often', async t => {
  const firsts = new Map<string, number>(MANY_ADDRESSES.map(address => [address, 0]))
  const rounds = 9000
  for (let i = 0; i < rounds; i++) {
    const reply = answerTo(VIEWS.c1, 'many A', 'tcp')
    if (i === 0) t.equal(reply.answers.length, 45)
    const first = reply.answers[0]?.data ?? ''
    firsts.set(first, (firsts.get(first) ?? 0) + 1)
  }
  const expected = rounds / 45
  const chi = [...firsts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)
  // 44 degrees of freedom: 95.6 is p = 1e-5, so that chance fails this once in 100,000 runs.
  t.ok(chi < 95.6, `chi-square ${chi.toFixed(1)}`)
})
