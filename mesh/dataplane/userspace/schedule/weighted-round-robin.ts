/**
 * As often as their weights, and as evenly: of 3:1 the fourth goes to the other, never three in a row
 * after three. Everybody gains its weight a turn; who has most is chosen and pays the sum of all.
 */

import type { Candidate, Choose } from './scheduler.js'

export function weightedRoundRobin<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  const credits = candidates.map(candidate => ({ candidate, credit: 0 }))
  return (_client, isOut) => {
    let best: (typeof credits)[number] | undefined
    let total = 0
    for (const entry of credits) {
      if (isOut(entry.candidate)) continue
      entry.credit += entry.candidate.weight
      total += entry.candidate.weight
      if (best === undefined || entry.credit > best.credit) best = entry
    }
    if (best !== undefined) best.credit -= total
    return best?.candidate
  }
}
