import fc from 'fast-check'
import t from 'tap'
import { ReplyCache, cacheKey } from '../../../resolver/forward/cache.js'
import { Forwarder } from '../../../resolver/forward/forwarder.js'
import { parseQuery } from '../../../resolver/message.js'
import {
  a,
  composeQuery,
  drops,
  noData,
  nxdomain,
  openUpstream,
  soa,
  world,
} from '../../fixtures/upstream.js'
import { A, TXT, ask, extendedErrors, policyOf } from './asking.js'
import { ManualClock } from '../../fixtures/manual-clock.js'
import type { Test } from 'tap'
import type { Query } from '../../../resolver/message.js'
import type { ForwardPolicy } from '../../../resolver/forward/policy.js'
import type { Behaviour, UpstreamFixture } from '../../fixtures/upstream.js'

interface Setup {
  readonly clock: ManualClock
  readonly forwarder: Forwarder
  readonly upstream: UpstreamFixture
  readonly policy: ForwardPolicy
}

async function setUp(test: Test, behaviour: Behaviour): Promise<Setup> {
  const clock = new ManualClock()
  const forwarder = new Forwarder({ clock })
  const upstream = await openUpstream({ address: '127.0.0.1' }, behaviour)
  test.teardown(() => upstream.close())
  test.teardown(() => forwarder.close())
  return { clock, forwarder, upstream, policy: policyOf(upstream) }
}

t.test('a second question is answered from the cache with an aged TTL', async t => {
  const { clock, forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  clock.advance(10_500)
  const reply = await ask(forwarder, policy, 'TEST.example', A)
  t.strictSame(reply.ttls, [67])
  t.equal(reply.flags & 0x0400, 0, 'what is repeated is not authoritative')
  t.equal(upstream.received.length, 1)
})

t.test('nothing is kept for more than 60 s', async t => {
  const { clock, forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  clock.advance(60_000)
  const reply = await ask(forwarder, policy, 'test.example', A)
  t.strictSame(reply.ttls, [77])
  t.equal(upstream.received.length, 2)
})

t.test('the least TTL of a reply decides', async t => {
  const behaviour: Behaviour = () => [{ answers: [a('192.0.2.1', 50), a('192.0.2.2', 5)] }]
  const { clock, forwarder, upstream, policy } = await setUp(t, behaviour)
  await ask(forwarder, policy, 'x.example', A)
  clock.advance(4999)
  await ask(forwarder, policy, 'x.example', A)
  t.equal(upstream.received.length, 1)
  clock.advance(1)
  await ask(forwarder, policy, 'x.example', A)
  t.equal(upstream.received.length, 2)
})

for (const [name, behaviour, seconds] of [
  ['NXDOMAIN with a long SOA', () => [nxdomain()], 30],
  ['NXDOMAIN with a minimum of 7', () => [{ rcode: 3, authorities: [soa('', 86400, 7)] }], 7],
  ['NXDOMAIN whose SOA has 9 s left', () => [{ rcode: 3, authorities: [soa('', 9, 600)] }], 9],
  ['NODATA with an SOA of 60', () => [noData()], 30],
] as const satisfies readonly (readonly [string, Behaviour, number])[]) {
  t.test(`${name} is kept ${seconds} s`, async t => {
    const { clock, forwarder, upstream, policy } = await setUp(t, behaviour)
    await ask(forwarder, policy, 'x.example', A)
    clock.advance(seconds * 1000 - 1)
    await ask(forwarder, policy, 'x.example', A)
    t.equal(upstream.received.length, 1)
    clock.advance(1)
    await ask(forwarder, policy, 'x.example', A)
    t.equal(upstream.received.length, 2)
  })
}

for (const [name, behaviour] of [
  ['NXDOMAIN without an SOA', () => [{ rcode: 3 }]],
  ['a TTL of 0', () => [{ answers: [a('192.0.2.1', 0)] }]],
  ['a TTL with its high bit set', () => [{ answers: [a('192.0.2.1', 0x80000001)] }]],
  ['SERVFAIL', () => [{ rcode: 2 }]],
] as const satisfies readonly (readonly [string, Behaviour])[]) {
  t.test(`${name} is not kept`, async t => {
    const { forwarder, upstream, policy } = await setUp(t, behaviour)
    await ask(forwarder, policy, 'x.example', A)
    await ask(forwarder, policy, 'x.example', A)
    t.equal(upstream.received.length, 2)
  })
}

t.test('a cached reply is fitted to each client', async t => {
  const { forwarder, upstream, policy } = await setUp(t, world())
  const full = await ask(forwarder, policy, 'many.example', A, { ednsSize: 1232 })
  const cut = await ask(forwarder, policy, 'many.example', A)
  t.equal(full.data.length, 60)
  t.ok(cut.bytes.length <= 512)
  t.equal(cut.flags & 0x0200, 0x0200)
  t.equal(upstream.received.length, 1)
})

t.test('other upstreams are asked at once, whatever is kept', async t => {
  const { forwarder, policy } = await setUp(t, world('U1'))
  const other = await openUpstream({ address: '127.0.0.2' }, world('U2'))
  t.teardown(() => other.close())
  t.strictSame((await ask(forwarder, policy, 'who.example', TXT)).data, ['"U1"'])
  t.strictSame((await ask(forwarder, policyOf(other), 'who.example', TXT)).data, ['"U2"'])
})

t.test('flushCache() and isCaching: false ask again', async t => {
  const { forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  forwarder.flushCache()
  await ask(forwarder, policy, 'test.example', A)
  t.equal(upstream.received.length, 2)
  const uncached = { ...policy, isCaching: false }
  await ask(forwarder, uncached, 'test.example', A)
  await ask(forwarder, uncached, 'test.example', A)
  t.equal(upstream.received.length, 4)
})

t.test('a stale reply serves while all upstreams fail, for 30 s, marked as such', async t => {
  const { clock, forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  upstream.behaviour = () => [{ rcode: 2 }]
  clock.advance(75_000)
  const stale = await ask(forwarder, policy, 'test.example', A, { ednsSize: 1232 })
  t.strictSame(stale.data, ['203.0.113.10'])
  t.strictSame(stale.ttls, [15])
  t.strictSame(extendedErrors(stale.bytes), [3])
  clock.advance(15_000)
  const failed = await ask(forwarder, policy, 'test.example', A)
  t.equal(failed.rcode, 2)
})

t.test('a stale reply is better than a silence of 1.8 s', async t => {
  const { clock, forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  upstream.behaviour = drops
  clock.advance(61_000)
  const started = clock.now()
  const waiting = ask(forwarder, policy, 'test.example', A).then(reply => {
    t.strictSame(reply.data, ['203.0.113.10'])
    t.ok(clock.now() - started <= 1900)
  })
  clock.advance(1900)
  await waiting
})

t.test('stale replies of a dead upstream cost one exchange a question', async t => {
  const { clock, forwarder, upstream, policy } = await setUp(t, world())
  await ask(forwarder, policy, 'test.example', A)
  upstream.behaviour = drops
  clock.advance(61_000)
  const first = ask(forwarder, policy, 'test.example', A)
  clock.advance(1900)
  await first
  const packets = (): number | undefined => forwarder.status()[0]?.sent
  const sent = packets()
  for (let i = 0; i < 50; i++) {
    t.strictSame((await ask(forwarder, policy, 'test.example', A)).data, ['203.0.113.10'])
  }
  t.equal(packets(), sent)
  t.equal(forwarder.counters.stale, 51)
  t.equal(forwarder.waiting, 0)
})

const nameArbitrary = fc
  .array(fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/), { minLength: 1, maxLength: 4 })
  .map(labels => labels.join('.'))

function queryOf(name: string, type: number, flags: number, isDnssecWanted: boolean): Query {
  const bytes = composeQuery(name, type, { flags, ednsSize: 1232, isDnssecWanted })
  const query = parseQuery(bytes, 0, bytes.length)
  if (query.kind === 'failure') throw new Error(query.reason)
  return query
}

t.test('cacheKey() is the same for names in any case', async t => {
  const property = fc.property(nameArbitrary, fc.integer({ min: 1, max: 255 }), (name, type) => {
    const upper = cacheKey(1, queryOf(name.toUpperCase(), type, 0x0100, false))
    return upper === cacheKey(1, queryOf(name.toLowerCase(), type, 0x0100, false))
  })
  fc.assert(property)
  t.pass('holds')
})

t.test('cacheKey() differs by set, type, RD, CD and DO', async t => {
  const parts = fc.record({
    set: fc.integer({ min: 0, max: 0x1ffff }),
    type: fc.integer({ min: 1, max: 0xffff }),
    flags: fc.constantFrom(0, 0x0100, 0x0010, 0x0110),
    isDnssecWanted: fc.boolean(),
  })
  const property = fc.property(nameArbitrary, parts, parts, (name, one, two) => {
    const [first, second] = [one, two].map(({ set, type, flags, isDnssecWanted }) =>
      cacheKey(set, queryOf(name, type, flags, isDnssecWanted)),
    )
    return (first === second) === (JSON.stringify(one) === JSON.stringify(two))
  })
  fc.assert(property)
  t.pass('holds')
})

t.test('ReplyCache keeps no more than it may', async t => {
  const cache = new ReplyCache({ maxEntries: 3, maxBytes: 1_000_000, now: () => 0 })
  const upstreamReply = Buffer.concat([
    Buffer.from('000081800001000100000000', 'hex'),
    Buffer.from('0000010001', 'hex'),
    Buffer.from('00000100010000003c0004c0000201', 'hex'),
  ])
  for (const key of ['a', 'b', 'c', 'd']) cache.put(key, upstreamReply, 17)
  t.equal(cache.size, 3)
  t.equal(cache.get('a'), undefined)
})
