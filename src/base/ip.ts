/** Addresses and prefixes as numbers, for choosing and comparing; text at the borders (RFC 5952). */

import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { CodedError } from './error.js'

export type Family = 4 | 6

export interface Address {
  readonly family: Family
  readonly value: bigint
}

/** A network prefix. `base` has no bit set below `length`. */
export interface Prefix {
  readonly family: Family
  readonly base: bigint
  readonly length: number
}

export class IpError extends CodedError<'IP_BAD_ADDRESS' | 'IP_BAD_PREFIX'> {}

/** Parses an IPv4 or IPv6 address without zone. Throws IpError `IP_BAD_ADDRESS`. */
export function parseAddress(text: string): Address {
  const family = isIP(text)
  if ((family !== 4 && family !== 6) || text.includes('%')) {
    throw new IpError('IP_BAD_ADDRESS', `"${text}" is not an IPv4 or IPv6 address`)
  }
  const bytes = ipaddr.parse(text).toByteArray()
  return { family, value: valueOfBytes(bytes) }
}

/** Parses `ADDRESS/LENGTH`; host bits are dropped. Throws IpError `IP_BAD_PREFIX`. */
export function parsePrefix(text: string): Prefix {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text)
  const family = isIP(match?.[1] ?? '')
  const length = Number(match?.[2])
  if (match?.[1] === undefined || (family !== 4 && family !== 6) || length > bitsOf(family)) {
    throw new IpError(
      'IP_BAD_PREFIX',
      `"${text}" is not a subnet; write it as ADDRESS/LENGTH, such as 10.0.1.0/24`,
    )
  }
  const { value } = parseAddress(match[1])
  return { family, length, base: value & maskOf(family, length) }
}

/** 32 or 128. */
export function bitsOf(family: Family): number {
  return family === 4 ? 32 : 128
}

/** Canonical text (RFC 5952 for IPv6). */
export function formatAddress(address: Address): string {
  return ipaddr.fromByteArray([...addressBytes(address)]).toString()
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress({ family: prefix.family, value: prefix.base })}/${prefix.length}`
}

/** Network byte order: 4 or 16 bytes. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(bitsOf(address.family) / 8)
  let rest = address.value
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return bytes
}

/** The address of 4 or 16 bytes in network byte order. */
export function addressOfBytes(bytes: Uint8Array): Address {
  return { family: bytes.length === 4 ? 4 : 6, value: valueOfBytes(bytes) }
}

/** How many addresses a prefix holds. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(bitsOf(prefix.family) - prefix.length)
}

export function prefixContains(prefix: Prefix, address: Address): boolean {
  return (
    prefix.family === address.family &&
    (address.value & maskOf(prefix.family, prefix.length)) === prefix.base
  )
}

/** True where two prefixes share an address. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  if (a.family !== b.family) return false
  const mask = maskOf(a.family, Math.min(a.length, b.length))
  return (a.base & mask) === (b.base & mask)
}

/** The last address of a prefix; for IPv4 the broadcast address. */
export function lastAddress(prefix: Prefix): Address {
  return { family: prefix.family, value: prefix.base + prefixSize(prefix) - 1n }
}

function maskOf(family: Family, length: number): bigint {
  const bits = BigInt(bitsOf(family))
  return ((1n << BigInt(length)) - 1n) << (bits - BigInt(length))
}

function valueOfBytes(bytes: Iterable<number>): bigint {
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return value
}
