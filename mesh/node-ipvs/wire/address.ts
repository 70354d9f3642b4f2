/** IP addresses: text to bytes and back. Pure; the text of IPv6 is RFC 5952's. */
import { isIPv4, isIPv6 } from 'node:net'
import { badInput } from '../error.js'
import type { Family } from '../service.js'

export interface Address {
  readonly family: Family
  /** 4 or 16, in network order. */
  readonly bytes: Buffer
}

/** Linux: include/linux/socket.h. */
export const AF: Readonly<Record<Family, number>> = { 4: 2, 6: 10 }

const DOT = 0x2e
const ZERO = 0x30

/** Throws IpvsError `IPVS_BAD_INPUT`; `input` names what is read. */
export function parseAddress(value: string, input: string): Address {
  if (isIPv4(value)) return { family: 4, bytes: parseV4(value) }
  if (isIPv6(value) && !value.includes('%')) return { family: 6, bytes: parseV6(value) }
  throw badInput(
    `The ${input} "${value}" is no IPv4 or IPv6 address; write it without port or zone`,
  )
}

/** The canonical text of 4 or 16 bytes. */
export function composeAddress({ family, bytes }: Address): string {
  if (family === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i))
  const isMapped = groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff
  if (isMapped) return `::ffff:${bytes.subarray(12).join('.')}`
  const { start, length } = longestZeros(groups)
  const hex = groups.map(group => group.toString(16))
  if (length < 2) return hex.join(':')
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`
}

/** By hand, for each operation of a batch has some. */
function parseV4(value: string): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  let at = 0
  let byte = 0
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code === DOT) {
      bytes[at++] = byte
      byte = 0
    } else byte = 10 * byte + code - ZERO
  }
  bytes[at] = byte
  return bytes
}

function parseV6(value: string): Buffer {
  const [left = '', right] = value.split('::')
  const head = groupsOf(left)
  const tail = right === undefined ? [] : groupsOf(right)
  const zeros = Buffer.alloc(Math.max(0, 16 - head.length - tail.length))
  return Buffer.concat([Buffer.from(head), zeros, Buffer.from(tail)])
}

/** The bytes of `a:b:1.2.3.4`. */
function groupsOf(value: string): readonly number[] {
  if (value === '') return []
  return value.split(':').flatMap(group => {
    if (group.includes('.')) return [...parseV4(group)]
    const number = parseInt(group, 16)
    return [number >> 8, number & 0xff]
  })
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let longest = { start: 0, length: 0 }
  let start = 0
  for (const [i, group] of groups.entries()) {
    if (group !== 0) start = i + 1
    else if (i + 1 - start > longest.length) longest = { start, length: i + 1 - start }
  }
  return longest
}
