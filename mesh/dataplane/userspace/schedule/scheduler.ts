/** What every scheduler is: a choice among candidates, by the words of the connection's client. */

import { chooseLeast, chooseLeastWeighted } from './least-connections.js'
import { maglev } from './maglev.js'
import { roundRobin } from './round-robin.js'
import { sourceHash } from './source-hash.js'
import { weightedRoundRobin } from './weighted-round-robin.js'
import type { Scheduler } from '../../../state.js'

/** A destination as schedulers see it. */
export interface Candidate {
  readonly id: string
  readonly weight: number
  readonly activeConnections: number
}

/**
 * Chooses one of the candidates that it was made for, or undefined where `isOut` holds for all.
 * `client` is the client's address: any text that is the same for the same address.
 */
export type Choose<C extends Candidate> = (
  client: string,
  isOut: (candidate: C) => boolean,
) => C | undefined

/** The scheduler of this name for these candidates. It has its own memory: of whose turn it is. */
export function createScheduler<C extends Candidate>(
  scheduler: Scheduler,
  candidates: readonly C[],
): Choose<C> {
  switch (scheduler) {
    case 'rr':
      return roundRobin(candidates)
    case 'wrr':
      return weightedRoundRobin(candidates)
    case 'lc':
      return chooseLeast(candidates)
    case 'wlc':
      return chooseLeastWeighted(candidates)
    case 'sh':
      return sourceHash(candidates)
    case 'mh':
      return maglev(candidates)
  }
}
