import t from 'tap'
import { hedgeInterval } from '../../../resolver/forward/exchange.js'
import { Health, PROBE_INTEREST_MS } from '../../../resolver/forward/health.js'

t.test('Health is down after two failures and up after any reply', async t => {
  const health = new Health()
  t.equal(health.noteFailure(0, 250), false)
  t.equal(health.isUp, true)
  t.equal(health.noteFailure(300, 550), true)
  t.equal(health.isUp, false)
  t.equal(health.noteReply(600, 620), true)
  t.equal(health.isUp, true)
})

t.test('noteFailure() does not count where something else was answered since', async t => {
  const health = new Health()
  health.noteReply(100, 120)
  for (let i = 0; i < 5; i++) health.noteFailure(110, 400)
  t.equal(health.isUp, true)
})

t.test('hedgeMs is three smoothed round trips, 250 ms at the least', async t => {
  const health = new Health()
  t.equal(health.hedgeMs, 250)
  health.noteReply(0, 20)
  t.equal(health.hedgeMs, 250)
  for (let i = 0; i < 100; i++) health.noteReply(0, 400)
  t.ok(Math.abs(health.hedgeMs - 1200) < 5, `${health.hedgeMs}`)
})

t.test('takeProbe() is every 500 ms, then doubles to 10 s, while somebody asks', async t => {
  const health = new Health()
  t.equal(health.takeProbe(0, 0), false, 'not while it is well')
  health.noteFailure(0, 0)
  const probes: number[] = []
  for (let now = 0; now < 55_000; now += 100) if (health.takeProbe(now, 0)) probes.push(now)
  const gaps = probes.slice(1).map((at, i) => at - (probes[i] ?? 0))
  t.strictSame(gaps.slice(0, 14), [...Array<number>(11).fill(500), 1000, 2000, 4000])
  t.equal(Math.max(...gaps), 10_000)
  t.equal(health.takeProbe(PROBE_INTEREST_MS + 10_001, 0), false, 'nobody asks any more')
})

for (const [hedgeMs, elapsedMs, left, expected] of [
  [250, 0, 2, 250],
  [1200, 0, 2, 1000],
  [1200, 1000, 1, 1000],
  [1200, 2000, 1, 0],
  [1200, 0, 0, 1200],
] as const) {
  t.test(`hedgeInterval(${hedgeMs}, ${elapsedMs}, ${left}) is ${expected} ms`, async t => {
    t.equal(hedgeInterval(hedgeMs, elapsedMs, left), expected)
  })
}
