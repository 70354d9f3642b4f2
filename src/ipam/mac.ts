/** The hardware address that goes with an address. */

import { addressBytes } from '../base/ip.js'
import type { Address } from '../base/ip.js'

/**
 * `02:42:` and the IPv4 address, as Docker did until 28: the same address always comes with the
 * same MAC, so that neighbours' caches stay true when it passes from one container to the next.
 * For IPv6 the two halves of the interface identifier are folded into the four bytes, so that
 * leases, which count up in the lower half, never collide.
 */
export function macOf(address: Address): string {
  const bytes = addressBytes(address)
  const tail = [0, 1, 2, 3].map(i =>
    address.family === 4 ? byteAt(bytes, i) : byteAt(bytes, 8 + i) ^ byteAt(bytes, 12 + i),
  )
  return [0x02, 0x42, ...tail].map(byte => byte.toString(16).padStart(2, '0')).join(':')
}

/**
 * Of the port on the ingress network that IPVS balances through: the bridge's own, with a bit turned
 * that no MAC of ours has.
 */
export function ipvsMacOf(bridgeMac: string): string {
  return `06${bridgeMac.slice(2)}`
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0
}
