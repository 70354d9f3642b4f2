import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { createProbe } from '../../../mesh/health/create-probe.js'
import { ProbeLimit } from '../../../mesh/health/limit.js'
import { ReadinessMonitor } from '../../../mesh/health/monitor.js'
import { systemClock } from '../../../src/base/clock.js'
import { ManualClock } from '../../fixtures/manual-clock.js'
import { answer, serve } from './servers.js'
import type { Test } from 'tap'
import type { ReadinessMonitorOptions } from '../../../mesh/health/monitor.js'
import type { Probe, ProbeResult, ProbeSpec } from '../../../mesh/health/probe.js'
import type { Readiness } from '../../../mesh/health/threshold.js'

const success: ProbeResult = { kind: 'success' }
const failure: ProbeResult = { kind: 'failure', reason: 'HTTP 503' }

interface Setup {
  readonly monitor: ReadinessMonitor
  /** Clock milliseconds since the start at which probes began. */
  readonly probed: readonly number[]
  /** What was told, as `READY AT`. */
  readonly told: readonly string[]
  /** Moves in steps of 10 ms, with time for probes to end in between. */
  advance(ms: number): Promise<void>
}

function setUp(
  test: Test,
  probe: (nowMs: number) => ProbeResult,
  options: Partial<ReadinessMonitorOptions> = {},
): Setup {
  const clock = new ManualClock()
  const origin = clock.now()
  const probed: number[] = []
  const told: string[] = []
  const monitor = new ReadinessMonitor({
    timing: {},
    clock,
    random: () => 0,
    probe: async () => {
      probed.push(clock.now() - origin)
      return probe(clock.now() - origin)
    },
    onChange: ({ isReady, since }) => told.push(`${isReady} ${since - origin}`),
    ...options,
  })
  test.teardown(() => monitor.close())
  const advance = async (ms: number): Promise<void> => {
    for (let moved = 0; moved < ms; moved += 10) {
      clock.advance(Math.min(10, ms - moved))
      await new Promise(setImmediate)
    }
  }
  return { monitor, probed, told, advance }
}

t.test(
  'a fresh replica is probed every 100 ms until its first success, then every second',
  async t => {
    const { probed, told, advance } = setUp(t, now => (now < 300 ? failure : success))
    await advance(2500)
    t.strictSame(
      probed.map(at => Math.round(at / 100)),
      [0, 1, 2, 3, 13, 23],
    )
    t.equal(told.length, 1)
    t.match(told[0], /^true 3\d\d$/)
  },
)

t.test('a replica that does not start is probed every second after 30 s', async t => {
  const { probed, told, advance } = setUp(t, () => failure)
  await advance(40_000)
  const early = probed.filter(at => at < 30_000).length
  t.ok(early > 250 && early <= 300, `${early} in 30 s`)
  const late = probed.length - early
  t.ok(late >= 10 && late <= 11, `${late} in the 10 s after`)
  t.strictSame(told, [])
})

t.test('two failures take it out, and two successes bring it back', async t => {
  const { monitor, told, advance } = setUp(t, now => (now > 500 && now < 3500 ? failure : success))
  await advance(6500)
  t.equal(told.length, 3)
  t.match(told.join(', '), /^true 10, false 20\d\d, true 50\d\d$/)
  t.match(monitor.readiness, { isReady: true, reason: 'the probe succeeded' })
})

t.test('a ready replica that an earlier daemon knew stays ready, untold', async t => {
  const { monitor, told, probed, advance } = setUp(t, () => success, { known: { isReady: true } })
  t.match(monitor.readiness, { isReady: true, reason: 'ready before' })
  await advance(5000)
  t.strictSame(told, [])
  t.ok(probed.length >= 4 && probed.length <= 6, 'at the interval of one that runs')
})

t.test('a ready replica that an earlier daemon knew goes out after two failures', async t => {
  const { told, advance } = setUp(t, () => failure, { known: { isReady: true } })
  await advance(900)
  t.strictSame(told, [])
  await advance(500)
  t.equal(told.length, 1)
})

t.test('an unready replica that an earlier daemon knew comes in after two successes', async t => {
  const { told, advance } = setUp(t, () => success, { known: { isReady: false } })
  await advance(900)
  t.strictSame(told, [])
  await advance(500)
  t.equal(told.length, 1)
})

t.test(
  'readiness that flaps ten times a second is told once a second, and ends as it is',
  async t => {
    const timing = { intervalMs: 50, rise: 1, fall: 1 }
    const { monitor, told, advance } = setUp(
      t,
      now => (now < 10_000 && Math.floor(now / 50) % 2 === 1 ? failure : success),
      { timing },
    )
    await advance(10_000)
    t.ok(told.length >= 5 && told.length <= 11, `${told.length} changes`)
    await advance(1100)
    t.equal(monitor.readiness.isReady, true)
    const last = told.length
    await advance(5000)
    t.equal(told.length, last)
  },
)

t.test('noteGone() takes it out at once and drops the probe in flight', async t => {
  const signals: AbortSignal[] = []
  let release: (result: ProbeResult) => void = () => undefined
  const probe: Probe = signal => {
    signals.push(signal)
    return new Promise(resolve => (release = resolve))
  }
  const { monitor, told, advance } = setUp(t, () => success, { probe, timing: { rise: 1 } })
  await advance(10)
  release(success)
  await advance(1010)
  t.equal(signals.length, 2, 'one in flight')
  const finishLate = release
  monitor.noteGone('the process exited with code 1')
  t.equal(signals[1]?.aborted, true)
  t.match(monitor.readiness, { isReady: false, reason: 'the process exited with code 1' })
  finishLate(success)
  await advance(500)
  t.equal(monitor.readiness.isReady, false, 'what was asked before does not count')
  t.equal(told.length, 2)
  await advance(600)
  t.equal(signals.length, 3, 'and it is probed again')
})

t.test('probes do not overlap, and a late one is followed at once', async t => {
  const ends: ((result: ProbeResult) => void)[] = []
  const probe: Probe = () => new Promise(resolve => ends.push(resolve))
  const { advance } = setUp(t, () => success, { probe, known: { isReady: true } })
  await advance(5000)
  t.equal(ends.length, 1)
  ends[0]?.(success)
  await advance(20)
  t.equal(ends.length, 2)
})

t.test('close() drops the probe in flight and tells nothing after', async t => {
  const signals: AbortSignal[] = []
  let release: (result: ProbeResult) => void = () => undefined
  const probe: Probe = signal => {
    signals.push(signal)
    return new Promise(resolve => (release = resolve))
  }
  const { monitor, told, advance } = setUp(t, () => success, { probe })
  await advance(10)
  monitor.close()
  t.equal(signals[0]?.aborted, true)
  release(success)
  monitor.noteGone('exited')
  await advance(5000)
  t.strictSame([told, signals.length], [[], 1])
})

t.test('a listener may close the monitor it hears from', async t => {
  const setup = setUp(t, () => success, { onChange: () => setup.monitor.close() })
  await setup.advance(5000)
  t.equal(setup.probed.length, 1)
})

t.test('a probe that throws is a failure', async t => {
  const probe: Probe = () => Promise.reject(new Error('a bug'))
  const { monitor, advance } = setUp(t, () => success, { probe })
  await advance(50)
  t.match(monitor.readiness, { isReady: false, reason: 'a bug' })
})

t.test('1,000 replicas of one start do not probe in one tick', async t => {
  const clock = new ManualClock()
  let begun = 0
  const probe: Probe = () => {
    begun++
    return new Promise(() => undefined)
  }
  const known = { isReady: true }
  const monitors = Array.from(
    { length: 1000 },
    () => new ReadinessMonitor({ probe, timing: {}, clock, known, onChange: () => undefined }),
  )
  const perTick: number[] = []
  for (let i = 0; i < 100; i++) {
    const before = begun
    clock.advance(10)
    perTick.push(begun - before)
  }
  t.equal(begun, 1000)
  t.ok(Math.max(...perTick) < 50, `${Math.max(...perTick)} in 10 ms`)
  for (const monitor of monitors) monitor.close()
})

t.test('ReadinessMonitor refuses a timing that cannot be', async t => {
  const options = {
    probe: async () => success,
    clock: new ManualClock(),
    onChange: () => undefined,
  }
  t.throws(() => new ReadinessMonitor({ ...options, timing: { intervalMs: 0 } }), {
    code: 'HEALTH_BAD_PROBE',
  })
})

t.test('ProbeLimit runs no more than its number at a time, in order of arrival', async t => {
  const limit = new ProbeLimit(2)
  const ends: (() => void)[] = []
  const begun: number[] = []
  const { signal } = new AbortController()
  const cancel = new AbortController()
  const all = [0, 1, 2, 3, 4].map(i =>
    limit.limit(() => {
      begun.push(i)
      return new Promise(resolve => ends.push(() => resolve(success)))
    })(i === 2 ? cancel.signal : signal),
  )
  t.strictSame(begun, [0, 1])
  cancel.abort()
  t.strictSame(await all[2], { kind: 'unknown', reason: 'cancelled' })
  for (let i = 0; i < 4; i++) {
    ends[i]?.()
    await new Promise(setImmediate)
    t.ok(limit.running <= 2)
  }
  t.strictSame(begun, [0, 1, 3, 4])
  await Promise.all(all)
  t.equal(limit.running, 0)
})

t.test('a server that breaks is out within interval x fall, and back when it works', async t => {
  let isBroken = false
  const server = await serve(t, socket => {
    const code = isBroken ? 503 : 200
    answer(`HTTP/1.1 ${code} X\r\ncontent-length: 0\r\n\r\n`)(socket)
  })
  const spec = { kind: 'http', port: server.port, path: '/', intervalMs: 100, holdMs: 100 } as const
  const { next } = watch(t, spec)
  t.match(await next(), { isReady: true })
  const left = next()
  isBroken = true
  const brokenAt = performance.now()
  t.match(await left, { isReady: false, reason: 'HTTP 503' })
  const took = performance.now() - brokenAt
  // A second for a machine that does other things too.
  t.ok(took < 2 * 100 + 1000, `${took} ms`)
  const back = next()
  isBroken = false
  t.match(await back, { isReady: true })
})

t.test(
  'a frozen process is out within interval x fall + time-out, and back when it goes on',
  async t => {
    const script = `require('node:http').createServer((_, reply) => reply.end('ok'))
    .listen(0, '127.0.0.1', function () { console.log(this.address().port) })`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    const port = Number(line.toString())
    const timing = { intervalMs: 200, timeoutMs: 200, holdMs: 100 }
    const spec = { kind: 'http', port, path: '/', ...timing } as const
    const { next } = watch(t, spec)
    t.match(await next(), { isReady: true })
    const left = next()
    child.kill('SIGSTOP')
    const frozenAt = performance.now()
    t.match(await left, { isReady: false, reason: 'timed out after 200 ms without an answer' })
    const took = performance.now() - frozenAt
    t.ok(took < 2 * 200 + 200 + 1000, `${took} ms`)
    const back = next()
    child.kill('SIGCONT')
    t.match(await back, { isReady: true })
  },
)

/** Monitors `spec` on the machine's clock; `next` is the next change, within 10 s. */
function watch(test: Test, spec: ProbeSpec): { next(): Promise<Readiness> } {
  let hear: (readiness: Readiness) => void = () => undefined
  const probe = createProbe(spec, {
    address: '127.0.0.1',
    run: async () => ({ code: 0, output: '' }),
  })
  const monitor = new ReadinessMonitor({
    probe: new ProbeLimit().limit(probe),
    timing: spec,
    clock: systemClock,
    onChange: readiness => hear(readiness),
  })
  test.teardown(() => monitor.close())
  const next = (): Promise<Readiness> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no change within 10 s')), 10_000)
      hear = readiness => {
        clearTimeout(timer)
        resolve(readiness)
      }
    })
  return { next }
}
