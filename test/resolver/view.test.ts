import t from 'tap'
import { compileManaged, compileView } from '../../resolver/view.js'
import { updateZone } from '../../resolver/zone.js'
import { C2_ID } from '../fixtures/addresses.js'
import { VIEWS, ask, replyTo, summarize, viewOn, zoneOf } from '../fixtures/world.js'
import { TYPE } from '../../resolver/rr.js'
import { composeQuery } from '../../resolver/wire/query.js'

t.test('compileView() refuses a suffix that cannot be encoded', async t => {
  const names = { networks: [], hasExternalAccess: true, suffix: 'a..b' }
  t.throws(() => compileView(names), { code: 'NAME_INVALID' })
})

t.test('compileView() leaves out links whose endpoint is gone', async t => {
  const network = updateZone(zoneOf('net1'), { removedEndpoints: [C2_ID] })
  const links = [{ alias: 'al2', network, endpointId: C2_ID }]
  const view = compileView({ networks: [network], hasExternalAccess: true, links })
  t.equal(summarize(ask(view, 'al2 A')), 'FWD')
})

t.test('compileView() keeps one link alias for each network of the endpoint', async t => {
  const links = (['net2', 'net1'] as const).map(id => ({
    alias: 'al2',
    network: zoneOf(id),
    endpointId: C2_ID,
  }))
  const view = viewOn(['net2', 'net1'], { links })
  t.equal(summarize(ask(view, 'al2 A')), '172.30.2.2')
  t.equal(summarize(ask(view, 'al2.net1 A')), '172.30.1.3')
})

t.test('compileView() denies .local where it belongs to mDNS', async t => {
  const view = viewOn(['net1'], { localDomain: 'nxdomain' })
  t.equal(summarize(ask(view, 'printer.local A')), 'NXDOMAIN local.')
})

t.test('compileView() without gateways answers host names with NODATA', async t => {
  t.equal(summarize(ask(viewOn(['net1']), 'host.docker.internal A')), 'ND host.docker.internal.')
})

t.test('compileManaged() owns names of one label and every subnet', async t => {
  const managed = compileManaged({
    networks: [
      { name: 'Solo', subnets: ['10.7.0.0/20', 'fd00:7::/48'] },
      { name: 'dotted.net', subnets: [] },
      { name: 'bad..name', subnets: ['bad'] },
    ],
  })
  const view = compileView({ networks: [], hasExternalAccess: true, managed })
  const tell = (question: string) => summarize(ask(view, question))
  const site = '0.0.0.0.7.0.0.0.0.0.d.f.ip6.arpa.'
  t.equal(tell('x.solo A'), 'NXDOMAIN solo.')
  t.equal(tell('x.dotted.net A'), 'FWD')
  t.equal(tell('9.15.7.10.in-addr.arpa PTR'), 'NXDOMAIN 15.7.10.in-addr.arpa.')
  t.equal(tell('9.16.7.10.in-addr.arpa PTR'), 'FWD')
  t.equal(tell('1.0.0.0.0.7.0.0.0.0.0.d.f.ip6.arpa PTR'), `NXDOMAIN ${site}`)
})

t.test('respond() bounds the work of the deepest names', async t => {
  const deep = composeQuery({ name: `${'a.'.repeat(120)}wild.net1`, type: TYPE.A })
  t.ok(replyTo(VIEWS.c1, deep).length > 200)
  const start = performance.now()
  for (let i = 0; i < 1000; i++) replyTo(VIEWS.c1, deep)
  const perReply = performance.now() - start
  // 1,000 replies: milliseconds are microseconds each. The bound is 10 times what it takes.
  t.ok(perReply < 1000, `${perReply.toFixed(0)} us a reply for a name of 122 labels`)
  t.comment(`${perReply.toFixed(0)} us`)
})
