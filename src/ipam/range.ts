/** Which addresses of a subnet can be given to an endpoint at all, and which are the network's own. */

import { formatAddress, lastAddress, prefixContains } from '../base/ip.js'
import type { Address, Prefix } from '../base/ip.js'

/** First and last value, both included. */
export interface AddressRange {
  readonly first: bigint
  readonly last: bigint
}

/**
 * Why `address` of `subnet` belongs to nobody, or undefined: the network and broadcast address of
 * IPv4, the subnet-router anycast address of IPv6 (RFC 4291 §2.6.1). A /31 and a /32 have neither
 * (RFC 3021).
 */
export function describeReserved(subnet: Prefix, address: Address): string | undefined {
  if (subnet.family === 6) {
    return address.value === subnet.base ? 'the subnet-router anycast address' : undefined
  }
  if (subnet.length >= 31) return undefined
  if (address.value === subnet.base) return 'the network address'
  return address.value === lastAddress(subnet).value ? 'the broadcast address' : undefined
}

/** The addresses of `range`, itself inside `subnet`, without the reserved ones. May be empty. */
export function leasableRange(subnet: Prefix, range: Prefix): AddressRange {
  const end = lastAddress(range)
  const start: Address = { family: range.family, value: range.base }
  return {
    first: describeReserved(subnet, start) === undefined ? start.value : start.value + 1n,
    last: describeReserved(subnet, end) === undefined ? end.value : end.value - 1n,
  }
}

/** True where every address of `inner` is in `outer`. */
export function prefixHolds(outer: Prefix, inner: Prefix): boolean {
  return (
    inner.length >= outer.length &&
    prefixContains(outer, { family: inner.family, value: inner.base })
  )
}

/** The first address of `range` that `isFree` accepts, as text, or undefined. */
export function firstOf(
  range: AddressRange,
  family: Address['family'],
  isFree: (value: bigint) => boolean,
): string | undefined {
  for (let value = range.first; value <= range.last; value++) {
    if (isFree(value)) return formatAddress({ family, value })
  }
  return undefined
}
