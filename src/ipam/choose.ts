/** Chooses the next free subnet of the default pools. Pure. */

import { lastAddress, prefixSize } from '../base/ip.js'
import type { Family, Prefix } from '../base/ip.js'
import { IpamError } from './error.js'
import type { Pool } from './pool.js'
import { findTaken } from './taken.js'
import type { Taken } from './taken.js'

export interface SubnetChoice {
  readonly family: Family
  /** Tried in this order; those of the other family are passed over. */
  readonly pools: readonly Pool[]
  readonly taken: readonly Taken[]
  /** The subnet's length; absent: what the pool says. Pools narrower than it are passed over. */
  readonly length?: number
}

/** The first free subnet. Throws IpamError `IPAM_NO_FREE_SUBNET`. */
export function chooseSubnet(choice: SubnetChoice): Prefix {
  for (const pool of choice.pools) {
    const length = choice.length ?? pool.length
    if (pool.base.family !== choice.family || length < pool.base.length) continue
    const found = firstFree(pool.base, length, choice.taken)
    if (found !== undefined) return found
  }
  const what = choice.length === undefined ? '' : ` of length /${choice.length}`
  throw new IpamError(
    'IPAM_NO_FREE_SUBNET',
    `Cannot choose an IPv${choice.family} subnet${what}: networks or the host have every one of ` +
      `the default pools; remove unused networks or declare a subnet`,
  )
}

function firstFree(pool: Prefix, length: number, taken: readonly Taken[]): Prefix | undefined {
  const near = taken.filter(one => one.prefix.family === pool.family)
  const end = lastAddress(pool).value
  const size = prefixSize({ ...pool, length })
  let base = pool.base
  while (base <= end) {
    const candidate: Prefix = { family: pool.family, base, length }
    const obstacle = findTaken(candidate, near)
    if (obstacle === undefined) return candidate
    // Past the obstacle in one step, however many subnets it covers.
    const past = lastAddress(obstacle.prefix).value + 1n
    const aligned = ((past + size - 1n) / size) * size
    base = aligned > base ? aligned : base + size
  }
  return undefined
}
