/**
 * The chains that choose a slot. nftables draws modulo a constant, so there is one for each number of
 * slots, shared by all services that have as many. Pure.
 */

import type { Family } from '../../src/base/ip.js'
import type { Draw } from './slots.js'

/** Any constant, the same on every node: one client is to meet one destination through all. */
const HASH_SEED = '0x706f7274'

/** The name of the chain that draws among `size` slots. */
export function drawChain(draw: Draw, family: Family, size: number): string {
  return `${draw}${family}_${size}`
}

/**
 * Its rules; undefined where it is not such a name. `by`: what tells the service, the first field of the
 * keys of `slots4` and `slots6`.
 */
export function composeDrawChain(name: string, by: (family: Family) => string): string | undefined {
  const match = /^(random|hash)([46])_(\d+)$/.exec(name)
  if (match === null) return undefined
  const family = match[2] === '4' ? 4 : 6
  const ip = family === 4 ? 'ip' : 'ip6'
  const number =
    match[1] === 'hash'
      ? `jhash ${ip} saddr mod ${match[3]} seed ${HASH_SEED}`
      : `numgen random mod ${match[3]}`
  // Where the table shrank between this draw and the look, the slot is gone: the first one never is.
  return [number, 'numgen random mod 1']
    .map(one => `    dnat ${ip} to ${by(family)} . ${one} map @slots${family}\n`)
    .join('')
}

/** What such a chain does, for people; undefined where it is none. */
export function describeDrawChain(name: string): string | undefined {
  const match = /^(random|hash)[46]_(\d+)$/.exec(name)
  if (match === null) return undefined
  return match[1] === 'hash'
    ? `chosen by the client's address among ${match[2]} slots`
    : `drawn at random among ${match[2]} slots`
}
