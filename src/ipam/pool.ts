/** The pools that a network without a declared subnet takes one from: Docker's, and an IPv6 one of our own. */

import { createHash } from 'node:crypto'
import { parsePrefix } from '../base/ip.js'
import type { Prefix } from '../base/ip.js'

/** A prefix that is cut into subnets of `length`. */
export interface Pool {
  readonly base: Prefix
  readonly length: number
}

/** moby daemon/libnetwork/ipamutils, the local scope: fifteen /16, then sixteen /20. */
const IPV4_POOLS: readonly Pool[] = [
  ...Array.from({ length: 15 }, (_, i) => ({
    base: parsePrefix(`172.${17 + i}.0.0/16`),
    length: 16,
  })),
  { base: parsePrefix('192.168.0.0/16'), length: 20 },
]

/** RFC 4193 §3.1: fd00::/8, forty bits of global id, sixteen of subnet id. */
const ULA_LENGTH = 48
const ULA_SUBNET_LENGTH = 64

/** Docker's default pools, and the unique-local one that belongs to `instanceId`. */
export function defaultPools(instanceId: string): readonly Pool[] {
  return [...IPV4_POOLS, uniqueLocalPool(instanceId)]
}

/**
 * A /48 of fd00::/8 whose global id is derived from `instanceId` (RFC 4193 §3.2.2, as moby does:
 * the low forty bits of the first eight bytes of SHA-256), so that it is the same after a restart
 * and another instance's on another host.
 */
export function uniqueLocalPool(instanceId: string): Pool {
  const digest = createHash('sha256').update(instanceId).digest()
  const globalId = digest.readBigUInt64BE(0) & ((1n << 40n) - 1n)
  const base = (0xfdn << 120n) | (globalId << 80n)
  return { base: { family: 6, base, length: ULA_LENGTH }, length: ULA_SUBNET_LENGTH }
}
