/**
 * Which address of the namespace stands for which address of the host, where a port is published at one
 * address only: so that the namespace can tell them apart. Pure.
 */

import type { Family } from '../../../src/base/ip.js'
import { MeshError } from '../../error.js'
import type { Element } from '../../nft/program.js'
import type { VirtualService } from '../../state.js'
import { addressKey } from '../nftables/elements.js'
import { aliasAddress, MOST_ALIASES, type Transit } from './transit.js'

/** By the host's address, in canonical text. */
export type Aliases = ReadonlyMap<string, string>

/** The addresses of the host that `services` publish at. */
export function publishedAddresses(services: Iterable<VirtualService>): Set<string> {
  const addresses = new Set<string>()
  for (const { ports } of services) {
    for (const { address } of ports)
      if (address !== undefined) addresses.add(addressKey(address).key)
  }
  return addresses
}

/**
 * Those of `before` that are still wanted stay, others get a free one. Connections that live keep
 * theirs, as the host tracks them. Throws MeshError `MESH_UNSUPPORTED` where there are too many.
 */
export function assignAliases(
  before: Aliases,
  wanted: Iterable<string>,
  transit: Transit,
): Map<string, string> {
  const needed = [...wanted]
  const aliases = new Map<string, string>()
  for (const address of needed) {
    const known = before.get(address)
    if (known !== undefined) aliases.set(address, known)
  }
  const taken = new Set(aliases.values())
  for (const address of needed.sort()) {
    const own = transit[addressKey(address).family]
    if (own === undefined || aliases.has(address)) continue
    const alias = freeAlias(index => aliasAddress(own, index), taken)
    aliases.set(address, alias)
    taken.add(alias)
  }
  return aliases
}

/** What the elements of the host's table say. */
export function adoptAliases(elements: Iterable<Element>, transit: Transit): Map<string, string> {
  const known = new Set(([4, 6] as Family[]).flatMap(family => possibleAliases(transit, family)))
  const aliases = new Map<string, string>()
  const taken = new Set<string>()
  for (const { key, data } of elements) {
    const [address = ''] = key.split(' . ')
    if (data === '' || !known.has(data) || taken.has(data) || aliases.has(address)) continue
    aliases.set(address, data)
    taken.add(data)
  }
  return aliases
}

function possibleAliases(transit: Transit, family: Family): string[] {
  const own = transit[family]
  if (own === undefined) return []
  return Array.from({ length: MOST_ALIASES }, (_, index) => aliasAddress(own, index))
}

function freeAlias(at: (index: number) => string, taken: ReadonlySet<string>): string {
  for (let index = 0; index < MOST_ALIASES; index++) {
    const alias = at(index)
    if (!taken.has(alias)) return alias
  }
  throw new MeshError(
    'MESH_UNSUPPORTED',
    `Cannot publish at more than ${MOST_ALIASES} addresses of this host by IPVS; ` +
      'publish at all of them, or use the nftables dataplane',
  )
}
