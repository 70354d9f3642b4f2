/**
 * The addresses of the link between the host and the namespace that IPVS balances in: a subnet of each
 * family that the host has no other use for. Pure.
 *
 * IPv4 from 198.18.0.0/15 (RFC 2544: benchmarks, never routed), not from 100.64.0.0/10, of which
 * carriers and Tailscale think as theirs. IPv6 from fd00::/8 (RFC 4193).
 */

import { createHash } from 'node:crypto'
import {
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  prefixContains,
  prefixesOverlap,
  type Family,
  type Prefix,
} from '../../../src/base/ip.js'
import { MeshError } from '../../error.js'

/** What a host says of where its packets go already. */
export interface Occupied {
  /** CIDRs of routes and addresses, the link's own left out. */
  readonly prefixes: readonly string[]
  /** CIDRs of the addresses that the link has. */
  readonly own: readonly string[]
}

export interface TransitFamily {
  /** CIDR. */
  readonly subnet: string
  readonly prefixLength: number
  /** The host's end. */
  readonly host: string
  /** The namespace's end: where the host sends published ports. */
  readonly ingress: string
}

export type Transit = Readonly<Partial<Record<Family, TransitFamily>>>

const POOLS = { 4: parsePrefix('198.18.0.0/15'), 6: parsePrefix('fd00::/8') } as const
const LENGTHS = { 4: 24, 6: 64 } as const
const CANDIDATES = 512
/** Of a subnet of 256 addresses, those that are no end and no broadcast. */
export const MOST_ALIASES = 250

/**
 * The subnet that the link has, or the first of a row that is free; the row depends on the link's name
 * alone. Throws MeshError `MESH_NO_DATAPLANE` where none is.
 */
export function chooseTransit(
  link: string,
  family: Family,
  { prefixes, own }: Occupied,
): TransitFamily {
  const pool = POOLS[family]
  const length = LENGTHS[family]
  for (const cidr of own) {
    const subnet = parsePrefix(cidr)
    if (subnet.length === length && prefixContains(pool, { family, value: subnet.base })) {
      if (subnet.family === family) return describe(subnet)
    }
  }
  const occupied = prefixes.map(parsePrefix).filter(one => one.family === family && one.length > 0)
  for (let number = 0; number < CANDIDATES; number++) {
    const subnet = candidate(pool, length, link, number)
    if (!occupied.some(one => prefixesOverlap(one, subnet))) return describe(subnet)
  }
  throw new MeshError(
    'MESH_NO_DATAPLANE',
    `Cannot link the host to the namespace of IPVS: routes of this host cover ` +
      `${formatPrefix(pool)}; use the nftables dataplane, which needs no link`,
  )
}

/** An address of the namespace's end that stands for one address of the host; `index` from 0. */
export function aliasAddress({ ingress }: TransitFamily, index: number): string {
  const { family, value } = parseAddress(ingress)
  return formatAddress({ family, value: value + 1n + BigInt(index) })
}

function describe(subnet: Prefix): TransitFamily {
  const at = (offset: bigint): string =>
    formatAddress({ family: subnet.family, value: subnet.base + offset })
  return {
    subnet: formatPrefix(subnet),
    prefixLength: subnet.length,
    host: at(1n),
    ingress: at(2n),
  }
}

function candidate(pool: Prefix, length: number, link: string, number: number): Prefix {
  const digest = createHash('sha256').update(link).digest()
  const bits = BigInt(length - pool.length)
  const first = digest.readBigUInt64BE(0)
  const chosen = (first + BigInt(number)) & ((1n << bits) - 1n)
  const shift = BigInt((pool.family === 4 ? 32 : 128) - length)
  return { family: pool.family, length, base: pool.base + (chosen << shift) }
}
