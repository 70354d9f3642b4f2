/** The elements that the kernel holds, in the text that `Element` has. Pure. */

import { addressOfBytes, formatAddress } from '../../src/base/ip.js'
import type { RawElement } from '../../src/kernel/nft-dump.js'
import type { Collection, Element, Field } from './program.js'

const BYTES: Readonly<Record<Field, number>> = {
  ...{ ipv4: 4, ipv6: 16, mark: 4, number: 4, protocol: 1, port: 2, mac: 6 },
}
const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
])

/** Parses what the kernel says of one set or map. */
export function parseElements(collection: Collection, raw: readonly RawElement[]): Element[] {
  if (collection.isInterval === true && collection.key.length === 1) {
    return parseIntervals(collection, raw)
  }
  return raw.map(element => {
    const first = formatKey(collection.key, element.key)
    const last = element.keyEnd && formatKey(collection.key, element.keyEnd)
    const key = last === undefined ? first.join(' . ') : formatRanges(first, last)
    return { collection: collection.name, key, data: formatData(collection, element) }
  })
}

/** A single field's ranges come as where each begins and where the next thing begins. */
function parseIntervals(collection: Collection, raw: readonly RawElement[]): Element[] {
  const sorted = [...raw].sort((a, b) => {
    const order = a.key.compare(b.key)
    // Where a range begins at the end of another, that end comes first.
    return order === 0 ? Number(b.isIntervalEnd) - Number(a.isIntervalEnd) : order
  })
  return sorted.flatMap((element, index) => {
    if (element.isIntervalEnd) return []
    const next = sorted[index + 1]
    const last = next === undefined ? Buffer.alloc(element.key.length, 0xff) : before(next.key)
    const first = formatKey(collection.key, element.key)
    const key = formatRanges(first, formatKey(collection.key, last))
    return [{ collection: collection.name, key, data: formatData(collection, element) }]
  })
}

function before(key: Buffer): Buffer {
  const value = BigInt(`0x${key.toString('hex')}`) - 1n
  return Buffer.from(value.toString(16).padStart(key.length * 2, '0'), 'hex')
}

function formatRanges(first: readonly string[], last: readonly string[]): string {
  return first.map((one, i) => (one === last[i] ? one : `${one}-${last[i] ?? ''}`)).join(' . ')
}

function formatData({ data }: Collection, element: RawElement): string {
  if (data === undefined) return ''
  if (data === 'verdict') return element.chain ?? ''
  return element.value === undefined ? '' : formatField(data, element.value)
}

/** Fields of a concatenation begin at multiples of four bytes. */
function formatKey(fields: readonly Field[], key: Buffer): string[] {
  let at = 0
  return fields.map(field => {
    const text = formatField(field, key.subarray(at, at + BYTES[field]))
    at += (BYTES[field] + 3) & ~3
    return text
  })
}

function formatField(field: Field, bytes: Buffer): string {
  // A foreign element of another shape: a text that equals none of ours.
  if (bytes.length < BYTES[field]) return bytes.toString('hex')
  switch (field) {
    case 'ipv4':
      return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
    case 'ipv6':
      return formatAddress(addressOfBytes(bytes))
    case 'mark':
    case 'number':
      return String(bytes.readUInt32LE(0))
    case 'protocol':
      return PROTOCOLS.get(bytes.readUInt8(0)) ?? String(bytes.readUInt8(0))
    case 'port':
      return String(bytes.readUInt16BE(0))
    case 'mac':
      return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(':')
  }
}
