/** One after the other, weights aside. */

import type { Candidate, Choose } from './scheduler.js'

export function roundRobin<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  let next = 0
  return (_client, isOut) => {
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[next]
      next = (next + 1) % candidates.length
      if (candidate !== undefined && !isOut(candidate)) return candidate
    }
    return undefined
  }
}
