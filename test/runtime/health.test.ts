import t from 'tap'
import {
  applyProbe,
  execInContainer,
  HealthMonitor,
  NEW_HEALTH,
  nextProbeDelay,
} from '../../src/runtime/index.js'
import type { Healthcheck } from '../../src/catalog/service.js'
import type { Health, Probe } from '../../src/runtime/index.js'
import { systemClock } from '../../src/base/clock.js'
import type { Clock, Timer } from '../../src/base/clock.js'
import { asRoot, PATH, startContainer } from './container.js'

const CHECK: Healthcheck = {
  argv: ['probe'],
  intervalMs: 30_000,
  timeoutMs: 2_000,
  retries: 3,
  startPeriodMs: 60_000,
  startIntervalMs: 5_000,
}

/** The health after probes: [milliseconds since the start, exit code]. */
function after(probes: readonly (readonly [number, number])[], check = CHECK): Health {
  return probes.reduce(
    (health, [at, exitCode]) =>
      applyProbe(check, health, { exitCode, output: '', startedAt: at, endedAt: at }, at),
    NEW_HEALTH,
  )
}

for (const [name, probes, status, failingStreak] of [
  ['starting before any result', [], 'starting', 0],
  ['healthy after one success', [[1, 0]], 'healthy', 0],
  [
    'starting while failures fall into the start period',
    [
      [1, 1],
      [2, 1],
      [3, 1],
      [4, 1],
    ],
    'starting',
    0,
  ],
  [
    'starting after fewer failures than retries',
    [
      [60_000, 1],
      [60_001, 1],
    ],
    'starting',
    2,
  ],
  [
    'unhealthy after the retries',
    [
      [60_000, 1],
      [60_001, 1],
      [60_002, 1],
    ],
    'unhealthy',
    3,
  ],
  [
    'healthy while failures are fewer than retries',
    [
      [1, 0],
      [2, 1],
      [3, 1],
    ],
    'healthy',
    2,
  ],
  [
    'unhealthy in the start period once it was healthy',
    [
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 1],
    ],
    'unhealthy',
    3,
  ],
  [
    'healthy again after one success',
    [
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 0],
    ],
    'healthy',
    0,
  ],
  [
    'unhealthy on time-outs',
    [
      [60_000, -1],
      [60_001, -1],
      [60_002, -1],
    ],
    'unhealthy',
    3,
  ],
] as const) {
  t.test(`applyProbe() is ${name}`, async t => {
    t.match(after(probes), { status, failingStreak })
  })
}

t.test('applyProbe() keeps the last five results', async t => {
  const health = after([1, 2, 3, 4, 5, 6, 7].map(at => [at, 0] as const))
  t.strictSame(
    health.results.map(result => result.startedAt),
    [3, 4, 5, 6, 7],
  )
})

t.test('nextProbeDelay() is the start interval until healthy or the period is over', async t => {
  const healthy = after([[1, 0]])
  t.equal(nextProbeDelay(CHECK, NEW_HEALTH, 0), 5_000)
  t.equal(nextProbeDelay(CHECK, NEW_HEALTH, 60_000), 30_000)
  t.equal(nextProbeDelay(CHECK, healthy, 1), 30_000)
})

/** Time that moves by hand, one timer after the other. */
class ManualClock implements Clock {
  #time = 0
  #timers: { at: number; body: () => void }[] = []
  now(): number {
    return this.#time
  }
  after(delayMs: number, body: () => void): Timer {
    const timer = { at: this.#time + delayMs, body }
    this.#timers.push(timer)
    return { cancel: () => (this.#timers = this.#timers.filter(other => other !== timer)) }
  }
  get pending(): number {
    return this.#timers.length
  }
  /** Runs the timers that are due within `ms`, and what they set off. */
  async advance(ms: number): Promise<void> {
    const end = this.#time + ms
    for (;;) {
      const [due] = this.#timers.filter(timer => timer.at <= end).sort((a, b) => a.at - b.at)
      if (due === undefined) break
      this.#timers = this.#timers.filter(timer => timer !== due)
      this.#time = due.at
      due.body()
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#time = end
  }
}

interface Monitored {
  readonly clock: ManualClock
  readonly monitor: HealthMonitor
  readonly probedAt: number[]
  readonly changes: string[]
}

function monitored(probe: Probe, known?: { health: Health; runningForMs: number }): Monitored {
  const clock = new ManualClock()
  const probedAt: number[] = []
  const changes: string[] = []
  const monitor = new HealthMonitor({
    check: CHECK,
    clock,
    probe: (argv, timeoutMs) => {
      probedAt.push(clock.now())
      return probe(argv, timeoutMs)
    },
    onResult: (health, before) => {
      if (health.status !== before.status) changes.push(`${clock.now()} ${health.status}`)
    },
    ...(known ? { known } : {}),
  })
  return { clock, monitor, probedAt, changes }
}

t.test('HealthMonitor probes at the start interval, then at the interval', async t => {
  let isUp = false
  const { clock, probedAt, changes } = monitored(() =>
    Promise.resolve({ code: isUp ? 0 : 1, output: '' }),
  )
  await clock.advance(11_000)
  isUp = true
  await clock.advance(64_000)
  t.strictSame(probedAt, [5_000, 10_000, 15_000, 45_000, 75_000])
  t.strictSame(changes, ['15000 healthy'])
})

t.test('HealthMonitor takes a time-out and a probe that cannot run for failures', async t => {
  const outcomes = [
    () => Promise.resolve({ code: undefined, output: 'waiting' }),
    () => Promise.reject(new Error('it is not running')),
  ]
  const { clock, monitor } = monitored(() => (outcomes.shift() ?? outcomes[0] ?? never)())
  await clock.advance(10_000)
  t.match(monitor.health.results, [
    { exitCode: -1, output: 'Health check exceeded timeout (2s): waiting' },
    { exitCode: -1, output: 'it is not running' },
  ])
})

const never = (): Promise<never> => new Promise(() => undefined)

t.test('HealthMonitor runs one probe at a time and none after close()', async t => {
  const { clock, monitor, probedAt } = monitored(never)
  await clock.advance(100_000)
  t.strictSame(probedAt, [5_000])
  monitor.close()
  t.equal(clock.pending, 0)
})

t.test('HealthMonitor goes on with what an earlier daemon knew', async t => {
  const known = {
    health: after([
      [1, 0],
      [2, 1],
      [3, 1],
    ]),
    runningForMs: 100_000,
  }
  const { clock, changes } = monitored(() => Promise.resolve({ code: 1, output: '' }), known)
  await clock.advance(30_000)
  t.strictSame(changes, ['30000 unhealthy'])
})

t.test('HealthMonitor probes a real container', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const script = 'test "$(cat /etc/hostname)" = shop-web-1 && echo fine'
  const check = { ...CHECK, argv: ['/bin/sh', '-c', script], intervalMs: 5, startPeriodMs: 0 }
  const health = await new Promise<Health>(resolve => {
    const monitor = new HealthMonitor({
      check,
      clock: systemClock,
      probe: (argv, timeoutMs) => execInContainer(identity, argv, { timeoutMs, env: { PATH } }),
      onResult: result => {
        monitor.close()
        resolve(result)
      },
    })
    // The system clock's timers do not keep the process alive.
    const keepAlive = setTimeout(() => t.fail('no result in 10 s'), 10_000)
    t.teardown(() => clearTimeout(keepAlive))
  })
  t.match(health, { status: 'healthy', results: [{ exitCode: 0, output: 'fine\n' }] })
})
