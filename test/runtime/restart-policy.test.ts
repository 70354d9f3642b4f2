import t from 'tap'
import {
  decideRestart,
  FIRST_START,
  isStartedWithDaemon,
  parseRestartPolicy,
} from '../../src/runtime/index.js'

for (const [text, expected] of [
  ['', { kind: 'no' }],
  ['no', { kind: 'no' }],
  ['always', { kind: 'always' }],
  ['unless-stopped', { kind: 'unless-stopped' }],
  ['on-failure', { kind: 'on-failure' }],
  ['on-failure:0', { kind: 'on-failure' }],
  ['on-failure:3', { kind: 'on-failure', maximumRetries: 3 }],
] as const) {
  t.test(`parseRestartPolicy() reads "${text}"`, async t => {
    t.strictSame(parseRestartPolicy(text), expected)
  })
}

for (const text of ['sometimes', 'on-failure:', 'on-failure:-1', 'always:3', 'Always']) {
  t.test(`parseRestartPolicy() rejects "${text}"`, async t => {
    t.throws(() => parseRestartPolicy(text), { code: 'RUNTIME_BAD_SPECIFICATION' })
  })
}

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
    const decision = decideRestart(parseRestartPolicy(policy), FIRST_START, { ...run, ...change })
    t.equal(decision.kind, restarts ? 'restart' : 'stay')
  })
}

/** The waits before each restart of runs this long. */
function delays(policy: string, ranForMs: readonly number[]): (number | 'stay')[] {
  let state = FIRST_START
  return ranForMs.map(time => {
    const decision = decideRestart(parseRestartPolicy(policy), state, { ...run, ranForMs: time })
    if (decision.kind === 'stay') return 'stay'
    state = decision.state
    return decision.delayMs
  })
}

t.test('decideRestart() doubles the wait from 100 ms to a minute', async t => {
  t.strictSame(
    delays('always', Array<number>(12).fill(0)),
    [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000],
  )
})

t.test('decideRestart() begins anew after a run of 10 s', async t => {
  t.strictSame(delays('always', [0, 0, 9_999, 10_000, 0]), [100, 200, 400, 100, 200])
})

t.test('decideRestart() gives up after the retries of on-failure:2', async t => {
  t.strictSame(delays('on-failure:2', [0, 0, 0]), [100, 200, 'stay'])
})

t.test('isStartedWithDaemon() forgets a stop for "always" only', async t => {
  const started = ['no', 'always', 'unless-stopped', 'on-failure'].map(policy => [
    isStartedWithDaemon(parseRestartPolicy(policy), false),
    isStartedWithDaemon(parseRestartPolicy(policy), true),
  ])
  t.strictSame(started, [
    [false, false],
    [true, true],
    [true, false],
    [true, false],
  ])
})
