/** Reverse names (RFC 1035 §3.5, RFC 3596 §2.5): from an address, and back to the prefix named. */

import { isIP } from 'node:net'
import { type Prefix, addressBytes, bitsOf, parseAddress, prefixContains } from '../src/base/ip.js'
import { type NameKey, countLabels, isWithin, nameKey, parentStart } from './name.js'

/** The 4 or 16 bytes of an address in network order, one character a byte. */
export type AddressKey = string

const V4_APEX = nameKey('in-addr.arpa')
const V6_APEX = nameKey('ip6.arpa')

/** A reverse name as far as it can be read. */
export interface ReverseName {
  /** What its valid labels say: a whole address, or the prefix of a partial name. */
  readonly prefix: Prefix
  /** False where a label further left is no octet or nibble, or there are too many. */
  readonly isValid: boolean
}

/** The bytes of `text`, or undefined where it is no plain address. */
export function tryParseAddress(text: string): AddressKey | undefined {
  const family = isIP(text)
  if (family === 4) return String.fromCharCode(...text.split('.').map(Number))
  if (family !== 6 || text.includes('%')) return undefined
  return String.fromCharCode(...addressBytes(parseAddress(text)))
}

/** The name whose PTR names the owner of `address`. */
export function reverseKey(address: AddressKey): NameKey {
  let name = ''
  for (let i = 0; i < address.length; i++) {
    const byte = address.charCodeAt(i)
    if (address.length === 4) {
      const digits = String(byte)
      name = String.fromCharCode(digits.length) + digits + name
    } else {
      name = `\x01${(byte & 15).toString(16)}\x01${(byte >> 4).toString(16)}${name}`
    }
  }
  return name + (address.length === 4 ? V4_APEX : V6_APEX)
}

/** The closest of `in-addr.arpa` and `ip6.arpa` above `name`, or undefined. */
export function reverseApex(name: NameKey): NameKey | undefined {
  if (!name.endsWith('\x04arpa')) return undefined
  if (isWithin(name, V4_APEX)) return V4_APEX
  return isWithin(name, V6_APEX) ? V6_APEX : undefined
}

/** What `name` says, or undefined where it is not below a reverse apex. */
export function parseReverse(name: NameKey): ReverseName | undefined {
  const apex = reverseApex(name)
  if (apex === undefined || name === apex) return undefined
  const family = apex === V4_APEX ? 4 : 6
  const bits = family === 4 ? 8 : 4
  const labels: string[] = []
  for (let at = 0; at < name.length - apex.length; at = parentStart(name, at)) {
    labels.push(name.slice(at + 1, parentStart(name, at)))
  }
  let value = 0n
  let length = 0
  for (const label of labels.reverse()) {
    const part = family === 4 ? parseOctet(label) : parseNibble(label)
    if (part === undefined || length === bitsOf(family)) {
      return { prefix: prefixOf(family, value, length), isValid: false }
    }
    value = (value << BigInt(bits)) | BigInt(part)
    length += bits
  }
  return { prefix: prefixOf(family, value, length), isValid: true }
}

/** True where every address below `name` is in `subnet`. */
export function isReverseWithin(name: ReverseName, subnet: Prefix): boolean {
  const { prefix } = name
  return (
    prefix.length >= subnet.length &&
    prefixContains(subnet, { family: prefix.family, value: prefix.base })
  )
}

/**
 * Where the closest apex of `subnet` starts in `name`, which is within it: the shortest reverse
 * name that lies wholly in the subnet.
 */
export function reverseApexStart(name: NameKey, subnet: Prefix): number {
  const perLabel = subnet.family === 4 ? 8 : 4
  const apexLabels = 2 + Math.ceil(subnet.length / perLabel)
  let at = 0
  for (let skip = countLabels(name) - apexLabels; skip > 0; skip--) at = parentStart(name, at)
  return at
}

function prefixOf(family: 4 | 6, value: bigint, length: number): Prefix {
  return { family, length, base: value << BigInt(bitsOf(family) - length) }
}

function parseOctet(label: string): number | undefined {
  if (!/^(0|[1-9]\d{0,2})$/.test(label)) return undefined
  const octet = Number(label)
  return octet <= 255 ? octet : undefined
}

function parseNibble(label: string): number | undefined {
  return /^[0-9a-f]$/.test(label) ? parseInt(label, 16) : undefined
}
