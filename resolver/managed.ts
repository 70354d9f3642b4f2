/**
 * All networks managed on this host, attached or not: their names and addresses are never asked
 * of an upstream, which must not learn the topology.
 */

import { type Prefix, bitsOf } from '../src/base/ip.js'
import { type NameKey, countLabels, foldName, tryParseName } from './name.js'
import type { ReverseName } from './reverse.js'
import { parseSubnets } from './subnets.js'

/** The names and subnets of the host's networks, as plain data. */
export interface ManagedNames {
  readonly networks: readonly { readonly name: string; readonly subnets: readonly string[] }[]
}

/** Compiled; one for all views of the host. */
export interface ManagedSpace {
  /** Names of one label: a dotted network name may be a real domain and is not owned. */
  readonly names: ReadonlySet<NameKey>
  /** By `FAMILY/LENGTH`, the bases of the prefixes of that size. */
  readonly sizes: readonly {
    readonly family: 4 | 6
    readonly length: number
    readonly bases: ReadonlySet<bigint>
  }[]
}

/** Compiles the networks. Names and subnets that cannot be read are left out. */
export function compileManaged(managed: ManagedNames): ManagedSpace {
  const names = new Set<NameKey>()
  const sizes = new Map<string, { family: 4 | 6; length: number; bases: Set<bigint> }>()
  for (const { name, subnets } of managed.networks) {
    const wire = tryParseName(name)
    if (wire !== undefined && countLabels(wire) === 1) names.add(foldName(wire))
    for (const { family, length, base } of parseSubnets(subnets, [])) {
      const id = `${family}/${length}`
      const size = sizes.get(id) ?? { family, length, bases: new Set<bigint>() }
      size.bases.add(base)
      sizes.set(id, size)
    }
  }
  return { names, sizes: [...sizes.values()] }
}

/** The managed subnet that holds all of `name`, or undefined. */
export function findManagedSubnet(space: ManagedSpace, name: ReverseName): Prefix | undefined {
  const { prefix } = name
  for (const { family, length, bases } of space.sizes) {
    if (family !== prefix.family || prefix.length < length) continue
    const shift = BigInt(bitsOf(family) - length)
    const base = (prefix.base >> shift) << shift
    if (bases.has(base)) return { family, length, base }
  }
  return undefined
}
