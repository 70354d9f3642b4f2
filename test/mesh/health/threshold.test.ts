import fc from 'fast-check'
import t from 'tap'
import {
  freshThreshold,
  knownThreshold,
  settle,
  settlesAt,
  weigh,
} from '../../../mesh/health/threshold.js'
import type { Evidence, Threshold, ThresholdPolicy } from '../../../mesh/health/threshold.js'

const policy: ThresholdPolicy = { rise: 2, fall: 2, holdMs: 1000 }

/** One letter of a row: success, failure, unknown, gone. */
const LETTERS: Readonly<Record<string, Evidence>> = {
  S: { kind: 'success' },
  F: { kind: 'failure', reason: 'HTTP 503' },
  U: { kind: 'unknown', reason: 'could not probe: EMFILE' },
  G: { kind: 'gone', reason: 'exited' },
}

/** What is told after each letter, one every `stepMs`: R ready, - not ready. */
function tell(from: Threshold, letters: string, stepMs: number): string {
  let threshold = from
  return [...letters]
    .map((letter, i) => {
      const evidence = LETTERS[letter]
      if (evidence === undefined) throw new Error(`no letter ${letter}`)
      threshold = weigh(policy, threshold, evidence, (i + 1) * stepMs)
      return threshold.told.isReady ? 'R' : '-'
    })
    .join('')
}

const fresh = freshThreshold(0)
const ready = knownThreshold(true, 0)
const unready = knownThreshold(false, 0)

for (const [name, from, stepMs, letters, expected] of [
  ['a fresh replica joins with its first success', fresh, 2000, 'FFS', '--R'],
  ['one failure does not take it out', fresh, 2000, 'SFSFSF', 'RRRRRR'],
  ['two failures in a row do', fresh, 2000, 'SFF', 'RR-'],
  ['after an outage two successes bring it back', fresh, 2000, 'SFFSS', 'RR--R'],
  ['after an outage a failure in between starts the count again', ready, 2000, 'FFSFSS', 'R----R'],
  ['what could not be asked does not count', ready, 2000, 'FUUF', 'RRR-'],
  ['what could not be asked does not excuse either', ready, 2000, 'UUUU', 'RRRR'],
  ['a known ready replica stays so until two failures', ready, 2000, 'SF', 'RR'],
  ['a known unready replica needs two successes', unready, 2000, 'SS', '-R'],
  ['the end of its process takes it out at once', ready, 2000, 'G', '-'],
  ['and it comes back as after an outage', ready, 2000, 'GSS', '--R'],
  ['a change is held for a second', fresh, 300, 'SFFFFFF', 'RRRR---'],
  ['a verdict that turned back during the hold is not told', fresh, 200, 'SFFSSSSS', 'RRRRRRRR'],
  ['the end of a process is not held', fresh, 100, 'SG', 'R-'],
  ['but borrows the hold of the next change', fresh, 400, 'SGSSSSSS', 'R----R'.padEnd(8, 'R')],
] as const) {
  t.test(`weigh(): ${name}`, async t => {
    t.equal(tell(from, letters, stepMs), expected)
  })
}

t.test('weigh() gives the latest reason and the time of the change', async t => {
  let threshold = weigh(policy, freshThreshold(50), { kind: 'failure', reason: 'HTTP 503' }, 100)
  t.strictSame(threshold.told, { isReady: false, reason: 'HTTP 503', since: 50 })
  threshold = weigh(policy, threshold, { kind: 'failure', reason: 'connection refused' }, 200)
  t.strictSame(threshold.told, { isReady: false, reason: 'connection refused', since: 50 })
  threshold = weigh(policy, threshold, { kind: 'success' }, 300)
  t.strictSame(threshold.told, { isReady: true, reason: 'the probe succeeded', since: 300 })
})

const policies = fc.record({
  rise: fc.integer({ min: 1, max: 4 }),
  fall: fc.integer({ min: 1, max: 4 }),
  holdMs: fc.integer({ min: 0, max: 2000 }),
})
const steps = fc.array(
  fc.record({ letter: fc.constantFrom('S', 'F', 'U'), afterMs: fc.integer({ min: 1, max: 400 }) }),
  { maxLength: 200 },
)

interface Played {
  readonly threshold: Threshold
  readonly now: number
  /** Times of told changes. */
  readonly changes: readonly number[]
  readonly letters: string
}

/** Plays steps as a monitor does: with a call when a hold ends. */
function play(
  policy: ThresholdPolicy,
  from: Threshold,
  steps: readonly { readonly letter: string; readonly afterMs: number }[],
): Played {
  const changes: number[] = []
  let threshold = from
  let now = 0
  const move = (next: Threshold, at: number): void => {
    if (next.told.isReady !== threshold.told.isReady) changes.push(at)
    threshold = next
  }
  for (const { letter, afterMs } of steps) {
    const due = settlesAt(threshold)
    if (due !== undefined && due <= now + afterMs) move(settle(policy, threshold, due), due)
    now += afterMs
    move(weigh(policy, threshold, LETTERS[letter] ?? { kind: 'success' }, now), now)
  }
  return { threshold, now, changes, letters: steps.map(({ letter }) => letter).join('') }
}

/** The verdict as a sentence says it: of the last long enough run, whatever was in between. */
function expectedVerdict(letters: string, { rise, fall }: ThresholdPolicy): boolean {
  const heard = letters.replaceAll('U', '')
  let isReady = false
  let wasReady = false
  for (let end = 1; end <= heard.length; end++) {
    const ending = heard.slice(0, end)
    const needed = wasReady ? rise : 1
    if (ending.endsWith('S'.repeat(needed))) isReady = wasReady = true
    if (isReady && ending.endsWith('F'.repeat(fall))) isReady = false
  }
  return isReady
}

t.test('told changes are a hold apart, whatever the results do', async t => {
  fc.assert(
    fc.property(policies, steps, (policy, steps) => {
      const { changes } = play(policy, freshThreshold(0), steps)
      return changes.slice(1).every((at, i) => at - (changes[i] ?? 0) >= policy.holdMs)
    }),
  )
  t.pass()
})

t.test('the last verdict is told one hold after the results end', async t => {
  fc.assert(
    fc.property(policies, steps, (policy, steps) => {
      const { threshold, now, letters } = play(policy, freshThreshold(0), steps)
      const { told } = settle(policy, threshold, now + policy.holdMs)
      return told.isReady === expectedVerdict(letters, policy)
    }),
  )
  t.pass()
})

t.test(
  'with ends of processes too, the rate holds over time: one extra change at the most',
  async t => {
    const harsh = fc.array(
      fc.record({
        letter: fc.constantFrom('S', 'F', 'G'),
        afterMs: fc.integer({ min: 1, max: 400 }),
      }),
      { maxLength: 200 },
    )
    fc.assert(
      fc.property(policies, harsh, (policy, steps) => {
        if (policy.holdMs === 0) return true
        const { changes } = play(policy, freshThreshold(0), steps)
        return changes.every((from, i) =>
          changes.slice(i).every((to, j) => j + 1 <= (to - from) / policy.holdMs + 2),
        )
      }),
    )
    t.pass()
  },
)

t.test('readiness that flaps ten times a second changes once a second', async t => {
  const flapping = Array.from({ length: 600 }, (_, i) => ({
    letter: i % 2 === 0 ? 'S' : 'F',
    afterMs: 50,
  }))
  const eager = { rise: 1, fall: 1, holdMs: 1000 }
  const { changes } = play(eager, freshThreshold(0), flapping)
  t.ok(changes.length > 10, `${changes.length} changes in 30 s`)
  t.ok(changes.length <= 31, `${changes.length} changes in 30 s`)
})
