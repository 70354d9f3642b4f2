import t, { type Test } from 'tap'
import { Forwarder } from '../../../resolver/forward/forwarder.js'
import {
  closedPort,
  composeQuery,
  denying,
  drops,
  failing,
  folding,
  forging,
  openUpstream,
  oversized,
  withoutEdns,
  world,
} from '../../fixtures/upstream.js'
import { A, TXT, ask, askBytes, extendedErrors, policyOf } from './asking.js'
import type { ForwarderOptions } from '../../../resolver/forward/forwarder.js'
import type { Behaviour, ReplyScript, UpstreamFixture } from '../../fixtures/upstream.js'

const RA = 0x0080
const TC = 0x0200
const AA = 0x0400

function forwarderOf(test: Test, options: ForwarderOptions = {}): Forwarder {
  const forwarder = new Forwarder(options)
  test.teardown(() => forwarder.close())
  return forwarder
}

async function upstreamOf(
  test: Test,
  behaviour: Behaviour,
  address = '127.0.0.1',
): Promise<UpstreamFixture> {
  const upstream = await openUpstream({ address }, behaviour)
  test.teardown(() => upstream.close())
  return upstream
}

t.test('forward() gives the answer of the upstream with its TTL and AA', async t => {
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u1), 'test.example', A, { ednsSize: 1400 })
  t.strictSame(reply.data, ['203.0.113.10'])
  t.strictSame(reply.ttls, [77])
  t.equal(reply.flags & AA, AA)
  t.equal(reply.flags & RA, RA)
  t.equal(u1.received[0]?.ednsSize, 1232, 'the OPT is ours')
})

t.test('forward() keeps the client’s id and the case of its question', async t => {
  const u1 = await upstreamOf(t, world())
  const query = composeQuery('TeSt.eXample', A, { id: 0xbeef })
  const reply = await askBytes(forwarderOf(t), policyOf(u1), query, 512)
  t.equal(reply.bytes.readUInt16BE(0), 0xbeef)
  t.strictSame(reply.bytes.subarray(12, query.length), query.subarray(12))
  t.not(u1.received[0]?.id, 0xbeef)
})

t.test('forward() asks with the client’s RD, CD and DO', async t => {
  const u1 = await upstreamOf(t, world())
  const forwarder = forwarderOf(t)
  await ask(forwarder, policyOf(u1), 'test.example', A, { flags: 0 })
  await ask(forwarder, policyOf(u1), 'test.example', A, {
    flags: 0x0110,
    ednsSize: 600,
    isDnssecWanted: true,
  })
  t.equal(u1.received[0]?.flags, 0)
  t.equal(u1.received[1]?.flags, 0x0110)
  t.equal(u1.received[1]?.isDnssecWanted, true)
})

t.test(
  'forward() passes a silent first upstream in 700 ms, and in 50 ms once it is known',
  async t => {
    const u2 = await upstreamOf(t, drops, '127.0.0.2')
    const u1 = await upstreamOf(t, world(), '127.0.0.1')
    const forwarder = forwarderOf(t, { cacheEntries: 0 })
    const times: number[] = []
    for (let i = 0; i < 4; i++) {
      const reply = await ask(forwarder, policyOf(u2, u1), 'who.example', TXT)
      t.strictSame(reply.data, ['"U1"'])
      times.push(reply.ms)
    }
    t.ok((times[0] ?? Infinity) < 700, `first: ${times[0]}`)
    t.ok((times[2] ?? Infinity) < 50, `third: ${times[2]}`)
    t.ok((times[3] ?? Infinity) < 50, `fourth: ${times[3]}`)
    t.equal(forwarder.status().find(status => status.address === '127.0.0.2')?.isUp, false)
  },
)

t.test('forward() passes a closed port at once', async t => {
  const u9 = { address: '127.0.0.9', port: await closedPort('127.0.0.9') }
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u9, u1), 'who.example', TXT)
  t.strictSame(reply.data, ['"U1"'])
  t.ok(reply.ms < 50, `${reply.ms} ms`)
})

t.test('forward() asks the next upstream after SERVFAIL', async t => {
  const u3 = await upstreamOf(t, failing, '127.0.0.3')
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u3, u1), 'who.example', TXT)
  t.strictSame(reply.data, ['"U1"'])
})

t.test('forward() takes NXDOMAIN as final', async t => {
  const u4 = await upstreamOf(t, denying, '127.0.0.4')
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u4, u1), 'who.example', TXT)
  t.equal(reply.rcode, 3)
  t.equal(u1.received.length, 0)
})

t.test('forward() says SERVFAIL with an extended error where all upstreams do', async t => {
  const u3 = await upstreamOf(t, failing)
  const reply = await ask(forwarderOf(t), policyOf(u3), 'who.example', TXT, { ednsSize: 1232 })
  t.equal(reply.rcode, 2)
  t.equal(reply.flags & RA, RA)
  t.strictSame(extendedErrors(reply.bytes), [22])
  t.ok(reply.ms < 200, `${reply.ms} ms`)
})

t.test('forward() says SERVFAIL inside 4.5 s where upstreams are silent', async t => {
  const silent = await Promise.all(
    ['127.0.0.2', '127.0.0.3', '127.0.0.4'].map(address => upstreamOf(t, drops, address)),
  )
  const [one] = silent
  if (one === undefined) throw new Error('no upstream')
  const forwarder = forwarderOf(t)
  const asking = { ednsSize: 1232 }
  const [single, triple] = await Promise.all([
    ask(forwarderOf(t), policyOf(one), 'who.example', TXT, asking),
    ask(forwarder, policyOf(...silent), 'who.example', TXT, asking),
  ])
  for (const reply of [single, triple]) {
    t.equal(reply.rcode, 2)
    t.strictSame(extendedErrors(reply.bytes), [23])
    t.ok(reply.ms > 1000 && reply.ms <= 4500, `${reply.ms} ms`)
  }
  t.ok(silent.every(upstream => upstream.count('who.example') > 0))
})

t.test('forward() says SERVFAIL at once without upstreams', async t => {
  const reply = await ask(forwarderOf(t), { upstreams: [] }, 'test.example', A, { ednsSize: 1232 })
  t.equal(reply.rcode, 2)
  t.ok(reply.ms < 50)
})

t.test('forward() turns REFUSED into SERVFAIL', async t => {
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u1), 'refused.example', A)
  t.equal(reply.rcode, 2)
})

t.test('forward() passes REFUSED where the policy says so', async t => {
  const u1 = await upstreamOf(t, world())
  const policy = { ...policyOf(u1), passesFailures: true }
  const reply = await ask(forwarderOf(t), policy, 'refused.example', A)
  t.equal(reply.rcode, 5)
})

t.test('forward() asks again without EDNS after FORMERR, and remembers that', async t => {
  const u5 = await upstreamOf(t, withoutEdns(world()))
  const forwarder = forwarderOf(t)
  const asking = { ednsSize: 1232, isDnssecWanted: true }
  const reply = await ask(forwarder, policyOf(u5), 'test.example', A, asking)
  t.strictSame(reply.data, ['203.0.113.10'])
  await ask(forwarder, policyOf(u5), 'test', A, asking)
  t.strictSame(
    u5.received.map(query => query.ednsSize),
    [1232, undefined, undefined],
  )
})

t.test('forward() takes a FORMERR that has no question', async t => {
  const headerOnly: ReplyScript = { rcode: 1, mangle: 'header-only' }
  const inner = world()
  const u5 = await upstreamOf(t, query =>
    query.ednsSize === undefined ? inner(query) : [headerOnly],
  )
  const reply = await ask(forwarderOf(t), policyOf(u5), 'test.example', A)
  t.strictSame(reply.data, ['203.0.113.10'])
})

t.test('forward() cuts 60 records to a partial set with TC for a client without EDNS', async t => {
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u1), 'many.example', A)
  t.ok(reply.bytes.length <= 512)
  t.equal(reply.flags & TC, TC)
  t.ok(reply.data.length >= 25, `${reply.data.length} records`)
})

t.test('forward() gives 60 records to a client of 1232 bytes', async t => {
  const u1 = await upstreamOf(t, world())
  const reply = await ask(forwarderOf(t), policyOf(u1), 'many.example', A, { ednsSize: 1232 })
  t.equal(reply.data.length, 60)
  t.equal(reply.bytes.length, 1001)
  t.equal(reply.flags & TC, 0)
})

t.test('forward() asks by TCP where the UDP reply is cut', async t => {
  const inner = world()
  const u1 = await upstreamOf(t, query => {
    return query.transport === 'tcp' ? inner(query) : [{ isTruncated: true }]
  })
  const reply = await ask(forwarderOf(t), policyOf(u1), 'many.example', A, { limit: 65535 })
  t.equal(reply.data.length, 60)
  t.strictSame(
    u1.received.map(query => query.transport),
    ['udp', 'tcp'],
  )
})

t.test('forward() passes a cut reply on where TCP is closed', async t => {
  const cut: Behaviour = () => [{ isTruncated: true }]
  const u1 = await openUpstream({ address: '127.0.0.1', hasTcp: false }, cut)
  t.teardown(() => u1.close())
  const reply = await ask(forwarderOf(t), policyOf(u1), 'many.example', A)
  t.equal(reply.rcode, 0)
  t.equal(reply.flags & TC, TC)
  t.ok(reply.ms < 200, `${reply.ms} ms`)
})

t.test('forward() fits an oversized UDP reply to the client', async t => {
  const u6 = await upstreamOf(t, withoutEdns(oversized(world())))
  const forwarder = forwarderOf(t)
  const small = await ask(forwarder, policyOf(u6), 'many.example', A)
  t.ok(small.bytes.length <= 512)
  t.equal(small.flags & TC, TC)
  const large = await ask(forwarder, policyOf(u6), 'many.example', A, { limit: 65535 })
  t.equal(large.data.length, 60)
})

for (const mangle of ['id', 'question', 'case', 'source'] as const) {
  t.test(`forward() drops a reply with a wrong ${mangle} and waits for the real one`, async t => {
    const u8 = await upstreamOf(t, forging(world(), mangle, 40))
    const reply = await ask(forwarderOf(t), policyOf(u8), 'test.example', A)
    t.strictSame(reply.data, ['203.0.113.10'])
  })
}

t.test('forward() stops mixing case for a server that folds it', async t => {
  const u7 = await upstreamOf(t, folding(world()))
  const forwarder = forwarderOf(t, { cacheEntries: 0 })
  const first = await ask(forwarder, policyOf(u7), 'test.example', A)
  t.strictSame(first.data, ['203.0.113.10'])
  t.ok(first.ms < 250, `${first.ms} ms`)
  t.equal(forwarder.status()[0]?.mixesCase, false)
  const second = await ask(forwarder, policyOf(u7), 'tEst.example', A)
  t.strictSame(second.data, ['203.0.113.10'])
  t.equal(u7.received.at(-1)?.name, 'tEst.example')
})

t.test('forward() serves a server that folds case and has no TCP', async t => {
  const u7 = await openUpstream({ address: '127.0.0.1', hasTcp: false }, folding(world()))
  t.teardown(() => u7.close())
  const forwarder = forwarderOf(t, { cacheEntries: 0 })
  const reply = await ask(forwarder, policyOf(u7), 'test.example', A)
  t.strictSame(reply.data, ['203.0.113.10'])
  t.ok(reply.ms < 2000, `${reply.ms} ms`)
})

t.test('forward() sends one query for 100 clients that ask the same at once', async t => {
  const u1 = await upstreamOf(t, query =>
    world()(query).map(script => ({ ...script, delayMs: 20 })),
  )
  const forwarder = forwarderOf(t)
  const policy = policyOf(u1)
  const replies = await Promise.all(
    Array.from({ length: 100 }, (_, id) => ask(forwarder, policy, 'test.example', A, { id })),
  )
  t.equal(u1.count('test.example'), 1)
  t.strictSame(
    replies.map(reply => reply.bytes.readUInt16BE(0)),
    Array.from({ length: 100 }, (_, id) => id),
  )
  t.equal(forwarder.counters.joined, 99)
})

t.test('forward() bounds what waits, and refuses the rest at once', async t => {
  const u2 = await upstreamOf(t, drops)
  const forwarder = forwarderOf(t, { maxWaitingPerPolicy: 1000, budgetMs: 1000 })
  const policy = policyOf(u2)
  const replies = await Promise.all(
    Array.from({ length: 1100 }, (_, id) =>
      ask(forwarder, policy, `n${id}.drop.example`, A, { id, ednsSize: 1232 }),
    ),
  )
  const refused = replies.filter(reply => extendedErrors(reply.bytes).includes(31))
  t.equal(refused.length, 100)
  t.ok(
    refused.every(reply => reply.ms < 100),
    `slowest ${Math.max(...refused.map(reply => reply.ms))} ms`,
  )
  t.ok(replies.every(reply => reply.rcode === 2))
  t.equal(forwarder.counters.overflowed, 100)
  t.equal(forwarder.waiting, 0)
})

t.test('forward() bounds what waits over all policies', async t => {
  const u2 = await upstreamOf(t, drops)
  const forwarder = forwarderOf(t, { maxWaiting: 3, budgetMs: 300 })
  const ask1 = (name: string): Promise<unknown> => ask(forwarder, policyOf(u2), name, A)
  await Promise.all(['a', 'b', 'c', 'd', 'e'].map(ask1))
  t.equal(forwarder.counters.overflowed, 2)
})

t.test('forward() answers SERVFAIL to its own query that came back', async t => {
  const forwarder = forwarderOf(t)
  const loop = await upstreamOf(t, () => [])
  const policy = policyOf(loop)
  let lap: number | undefined
  loop.behaviour = query => {
    forwarder.forward(policy, query.bytes, 1232, bytes => (lap = (bytes[3] ?? 0) & 15))
    return [{ rcode: 2 }]
  }
  const reply = await ask(forwarder, policy, 'test.example', A)
  t.equal(lap, 2)
  t.equal(reply.rcode, 2)
  t.equal(forwarder.counters.looped, 1)
  t.equal(loop.received.length, 1)
})

t.test('forward() asks only the first three of four upstreams that are up', async t => {
  const addresses = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5']
  const upstreams = await Promise.all(addresses.map(address => upstreamOf(t, failing, address)))
  await ask(forwarderOf(t), policyOf(...upstreams), 'test.example', A)
  t.strictSame(
    upstreams.map(upstream => upstream.received.length),
    [1, 1, 1, 0],
  )
})

t.test('forward() brings an upstream up again when a probe is answered', async t => {
  const u2 = await upstreamOf(t, drops, '127.0.0.2')
  const u1 = await upstreamOf(t, world())
  const forwarder = forwarderOf(t, { cacheEntries: 0 })
  const isUp = (): boolean | undefined => forwarder.status()[0]?.isUp
  for (let i = 0; i < 2; i++) await ask(forwarder, policyOf(u2, u1), 'who.example', TXT)
  t.equal(isUp(), false)
  u2.behaviour = world('U2')
  const end = Date.now() + 3000
  while (isUp() === false && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 20))
  t.equal(isUp(), true)
  const reply = await ask(forwarder, policyOf(u2, u1), 'who.example', TXT)
  t.strictSame(reply.data, ['"U2"'])
})

t.test('forward() learns from late replies that an upstream is slow, not down', async t => {
  const slowly: Behaviour = query =>
    world('slow')(query).map(script => ({ ...script, delayMs: 300 }))
  const slow = await upstreamOf(t, slowly, '127.0.0.2')
  const u1 = await upstreamOf(t, world())
  const forwarder = forwarderOf(t, { cacheEntries: 0 })
  const policy = policyOf(slow, u1)
  t.strictSame((await ask(forwarder, policy, 'who.example', TXT)).data, ['"U1"'])
  const end = Date.now() + 2000
  while (forwarder.status()[0]?.roundTripMs === undefined && Date.now() < end) {
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.strictSame((await ask(forwarder, policy, 'who.example', TXT)).data, ['"slow"'])
  t.equal(forwarder.status()[0]?.isUp, true)
})

t.test('forward() without hedging asks the next after an equal part of the budget', async t => {
  const u2 = await upstreamOf(t, drops, '127.0.0.2')
  const u1 = await upstreamOf(t, world())
  const policy = { ...policyOf(u2, u1), isHedging: false }
  const reply = await ask(forwarderOf(t, { budgetMs: 1600 }), policy, 'who.example', TXT)
  t.strictSame(reply.data, ['"U1"'])
  t.ok(reply.ms >= 790 && reply.ms < 1100, `${reply.ms} ms`)
})

t.test('forward() never asks via a sandbox that the policy does not bring', async t => {
  const u1 = await upstreamOf(t, world())
  const { address, port } = u1
  const policy = { upstreams: [{ address, port, via: 'sandbox' as const }] }
  const reply = await ask(forwarderOf(t), policy, 'test.example', A)
  t.equal(reply.rcode, 2)
  t.equal(u1.received.length, 0)
})

t.test('close() answers those who wait', async t => {
  const u2 = await upstreamOf(t, drops)
  const forwarder = new Forwarder()
  const waiting = ask(forwarder, policyOf(u2), 'test.example', A)
  await forwarder.close()
  t.equal((await waiting).rcode, 2)
  t.equal((await ask(forwarder, policyOf(u2), 'test.example', A)).rcode, 2)
})
