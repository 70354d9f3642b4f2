import t from 'tap'
import { decideRestart, FIRST_START, isStartedWithDaemon } from '../../src/runtime/index.js'
import type { RestartPolicy } from '../../src/catalog/service.js'

const run = { exitCode: 1, ranForMs: 50, wasStopped: false }

for (const [policy, change, restarts] of [
  ['no', {}, false],
  ['always', {}, true],
  ['always', { exitCode: 0 }, true],
  ['always', { wasStopped: true }, false],
  ['unless-stopped', { exitCode: 0 }, true],
  ['unless-stopped', { wasStopped: true }, false],
  ['on-failure', {}, true],
  ['on-failure', { exitCode: 0 }, false],
  ['on-failure', { wasStopped: true }, false],
] as const) {
  t.test(`decideRestart() with ${policy} after ${JSON.stringify(change)}`, async t => {
    const decision = decideRestart({ condition: policy }, FIRST_START, { ...run, ...change })
    t.equal(decision.kind, restarts ? 'restart' : 'stay')
  })
}

/** The waits before each restart of runs this long. */
function delays(policy: RestartPolicy, ranForMs: readonly number[]): (number | 'stay')[] {
  let state = FIRST_START
  return ranForMs.map(time => {
    const decision = decideRestart(policy, state, { ...run, ranForMs: time })
    if (decision.kind === 'stay') return 'stay'
    state = decision.state
    return decision.delayMs
  })
}

t.test('decideRestart() doubles the wait from 100 ms to a minute', async t => {
  t.strictSame(
    delays({ condition: 'always' }, Array<number>(12).fill(0)),
    [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000],
  )
})

t.test('decideRestart() begins anew after a run of 10 s', async t => {
  t.strictSame(delays({ condition: 'always' }, [0, 0, 9_999, 10_000, 0]), [100, 200, 400, 100, 200])
})

t.test('decideRestart() gives up after the retries of on-failure:2', async t => {
  t.strictSame(delays({ condition: 'on-failure', maxRetries: 2 }, [0, 0, 0]), [100, 200, 'stay'])
})

t.test('isStartedWithDaemon() forgets a stop for "always" only', async t => {
  const conditions = ['no', 'always', 'unless-stopped', 'on-failure'] as const
  const started = conditions.map(condition => [
    isStartedWithDaemon({ condition }, false),
    isStartedWithDaemon({ condition }, true),
  ])
  t.strictSame(started, [
    [false, false],
    [true, true],
    [true, false],
    [true, false],
  ])
})
