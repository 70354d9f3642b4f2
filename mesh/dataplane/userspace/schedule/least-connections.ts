/** Whoever has the fewest living connections, plain or for its weight. Ties go round. */

import type { Candidate, Choose } from './scheduler.js'

export function chooseLeast<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  return least(candidates, (a, b) => a.activeConnections < b.activeConnections)
}

/** The connection that would come counts too: of idle ones the heavier is first. */
export function chooseLeastWeighted<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  return least(
    candidates,
    (a, b) => (a.activeConnections + 1) * b.weight < (b.activeConnections + 1) * a.weight,
  )
}

function least<C extends Candidate>(
  candidates: readonly C[],
  isLess: (a: C, b: C) => boolean,
): Choose<C> {
  let start = 0
  return (_client, isOut) => {
    let best: C | undefined
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[(start + i) % candidates.length]
      if (candidate === undefined || isOut(candidate)) continue
      if (best === undefined || isLess(candidate, best)) best = candidate
    }
    start = (start + 1) % Math.max(1, candidates.length)
    return best
  }
}
