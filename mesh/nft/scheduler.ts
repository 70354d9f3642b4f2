/** What nftables makes of IPVS's schedulers. Pure. */

import type { Affinity, Scheduler } from '../state.js'
import type { Draw } from './slots.js'

/** By the client's address where that is asked for; anything else is drawn at random. */
export function drawOf(scheduler: Scheduler, affinity: Affinity): Draw {
  const isByClient = affinity.kind === 'client-ip' || scheduler === 'sh' || scheduler === 'mh'
  return isByClient ? 'hash' : 'random'
}

/** `rr` takes no notice of weights. */
export function weightOf(scheduler: Scheduler, weight: number): number {
  return scheduler === 'rr' ? 1 : weight
}
