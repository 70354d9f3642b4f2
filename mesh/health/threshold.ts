/**
 * Decides from probe results whether a replica is ready, and when to tell. Pure: time is an argument.
 *
 * Two steps. The verdict follows the results: `rise` successes or `fall` failures in a row turn it.
 * What is told follows the verdict, one change per `holdMs`; a verdict that turned meanwhile is told
 * when the hold ends, so that flapping costs no more and the last state is never lost.
 */

import type { ProbeResult, ProbeTiming } from './probe.js'

export type ThresholdPolicy = Pick<ProbeTiming, 'rise' | 'fall' | 'holdMs'>

/** What is learnt of a replica. `gone` is a fact, such as the end of its process, and not held. */
export type Evidence = ProbeResult | { readonly kind: 'gone'; readonly reason: string }

/** What is told of a replica. */
export interface Readiness {
  readonly isReady: boolean
  /** Why: one phrase, of the latest result that says so. */
  readonly reason: string
  /** Clock milliseconds of the change to `isReady`. */
  readonly since: number
}

export interface Threshold {
  readonly told: Readiness
  /** What the results say. It differs from what is told only during a hold. */
  readonly verdict: Pick<Readiness, 'isReady' | 'reason'>
  /** Results in a row against the verdict. */
  readonly streak: number
  /** Whether the verdict was ever ready: a return takes `rise` successes, the first entry one. */
  readonly hasBeenReady: boolean
  /** Clock milliseconds before which no change is told, save `gone`. */
  readonly heldUntil: number
}

const SUCCESS = 'the probe succeeded'

/** A replica of which nothing is known yet. */
export function freshThreshold(now: number): Threshold {
  const verdict = { isReady: false, reason: 'not probed yet' }
  const told = { ...verdict, since: now }
  return { told, verdict, streak: 0, hasBeenReady: false, heldUntil: now }
}

/** A replica that somebody knew before; an unready one is taken to be in an outage. */
export function knownThreshold(isReady: boolean, now: number): Threshold {
  const verdict = { isReady, reason: isReady ? 'ready before' : 'not ready before' }
  const told = { ...verdict, since: now }
  return { told, verdict, streak: 0, hasBeenReady: true, heldUntil: now }
}

/** The threshold after `evidence`, with what is due to be told at `now`. */
export function weigh(
  policy: ThresholdPolicy,
  before: Threshold,
  evidence: Evidence,
  now: number,
): Threshold {
  switch (evidence.kind) {
    case 'unknown':
      return settle(policy, before, now)
    case 'success':
      return settle(policy, countSuccess(policy, before), now)
    case 'failure':
      return settle(policy, countFailure(policy, before, evidence.reason), now)
    case 'gone':
      return tell(policy, turn(before, false, evidence.reason), now)
  }
}

/** The threshold with the verdict told, if it is not held any more. */
export function settle(policy: ThresholdPolicy, threshold: Threshold, now: number): Threshold {
  const { told, verdict, heldUntil } = threshold
  const isHeld = told.isReady !== verdict.isReady && now < heldUntil
  return isHeld ? threshold : tell(policy, threshold, now)
}

/** When to `settle` next: clock milliseconds, or undefined where nothing waits to be told. */
export function settlesAt({ told, verdict, heldUntil }: Threshold): number | undefined {
  return told.isReady === verdict.isReady ? undefined : heldUntil
}

function countSuccess({ rise }: ThresholdPolicy, before: Threshold): Threshold {
  if (before.verdict.isReady) return turn(before, true, SUCCESS)
  const streak = before.streak + 1
  if (streak >= (before.hasBeenReady ? rise : 1)) return turn(before, true, SUCCESS)
  return { ...before, streak }
}

function countFailure({ fall }: ThresholdPolicy, before: Threshold, reason: string): Threshold {
  if (!before.verdict.isReady) return turn(before, false, reason)
  const streak = before.streak + 1
  return streak >= fall ? turn(before, false, reason) : { ...before, streak }
}

/** The verdict `isReady`, new or confirmed. */
function turn(before: Threshold, isReady: boolean, reason: string): Threshold {
  const hasBeenReady = before.hasBeenReady || isReady
  return { ...before, verdict: { isReady, reason }, streak: 0, hasBeenReady }
}

function tell({ holdMs }: ThresholdPolicy, threshold: Threshold, now: number): Threshold {
  const { told, verdict, heldUntil } = threshold
  if (told.isReady === verdict.isReady) return { ...threshold, told: { ...told, ...verdict } }
  // A change that did not wait borrows its hold: the rate is kept over time whatever the facts do.
  return {
    ...threshold,
    told: { ...verdict, since: now },
    heldUntil: Math.max(now, heldUntil) + holdMs,
  }
}
