/**
 * The same client to the same destination, for as long as it is there: everybody draws a number from
 * client and destination, the highest by weight wins. Who leaves takes only its own clients along.
 */

import { hashText } from './hash.js'
import type { Candidate, Choose } from './scheduler.js'

export function sourceHash<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  const seeds = candidates.map(candidate => ({ candidate, seed: hashText(candidate.id) }))
  return (client, isOut) => {
    let best: C | undefined
    let bestScore = -Infinity
    for (const { candidate, seed } of seeds) {
      if (isOut(candidate)) continue
      const share = (hashText(client, seed) + 1) / 0x1_0000_0001
      // The logarithm makes shares of the clients proportional to the weights.
      const score = candidate.weight / -Math.log(share)
      if (
        score > bestScore ||
        (score === bestScore && best !== undefined && candidate.id < best.id)
      ) {
        best = candidate
        bestScore = score
      }
    }
    return best
  }
}
