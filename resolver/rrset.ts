/**
 * Record sets as the bytes a reply carries, made when a zone is compiled and copied when it
 * answers. Every record's owner is the pointer 0xC00C: the question's name, in the client's case.
 */

import type { WireName } from './name.js'
import type { AddressKey } from './reverse.js'
import { CLASS, TYPE } from './rr.js'

/** Where the question's name stands in every message (RFC 1035 §4.1.4). */
export const QUESTION_POINTER = 0xc00c

/** The records of one type at one name. */
export interface Rrset {
  readonly type: number
  readonly count: number
  /** Whole records, back to back. */
  readonly bytes: Uint8Array
  /** Bytes of each record where all are alike, as for addresses; else 0 and `offsets` counts. */
  readonly stride: number
  /** Where each record starts, then where the last ends; empty where `stride` is set. */
  readonly offsets: readonly number[]
  /** For SRV: the address sets of each record's target, which stands at the end of its record. */
  readonly glue: readonly (readonly Rrset[])[]
}

/** Where an SRV record leads (RFC 2782). */
export interface ServiceTarget {
  readonly port: number
  readonly name: WireName
  readonly addresses: readonly AddressKey[]
  readonly ttlSeconds: number
}

/** Bytes of an SRV record before its target: owner, fixed part, priority, weight and port. */
export const SRV_TARGET_OFFSET = 18

/** The A (`bytes` 4) or AAAA (16) set among `addresses`, or undefined where there is none. */
export function addressSet(
  addresses: Iterable<AddressKey>,
  bytes: 4 | 16,
  ttlSeconds: number,
): Rrset | undefined {
  const own = [...addresses].filter(address => address.length === bytes)
  if (own.length === 0) return undefined
  const type = bytes === 4 ? TYPE.A : TYPE.AAAA
  const text = own.map(address => record(type, ttlSeconds, address)).join('')
  return {
    type,
    count: own.length,
    bytes: Buffer.from(text, 'latin1'),
    stride: 12 + bytes,
    offsets: [],
    glue: [],
  }
}

/** The PTR set that names `targets`. */
export function pointerSet(targets: readonly WireName[], ttlSeconds: number): Rrset {
  return mixedSet(
    TYPE.PTR,
    targets.map(target => record(TYPE.PTR, ttlSeconds, `${target}\0`)),
    [],
  )
}

/** The SRV set of `targets`: priority 0, weight 1, addresses as glue. */
export function serviceSet(targets: readonly ServiceTarget[]): Rrset {
  const records = targets.map(target => {
    const data = `\0\0\0\x01${chars16(target.port)}${target.name}\0`
    return record(TYPE.SRV, target.ttlSeconds, data)
  })
  const glue = targets.map(({ addresses, ttlSeconds }) =>
    [addressSet(addresses, 4, ttlSeconds), addressSet(addresses, 16, ttlSeconds)].filter(
      set => set !== undefined,
    ),
  )
  return mixedSet(TYPE.SRV, records, glue)
}

function mixedSet(
  type: number,
  records: readonly string[],
  glue: readonly (readonly Rrset[])[],
): Rrset {
  const offsets = [0]
  let end = 0
  for (const one of records) offsets.push((end += one.length))
  const bytes = Buffer.from(records.join(''), 'latin1')
  return { type, count: records.length, bytes, stride: 0, offsets, glue }
}

/** One record in class IN, one character a byte. */
function record(type: number, ttlSeconds: number, data: string): string {
  const ttl = chars16(ttlSeconds >>> 16) + chars16(ttlSeconds & 0xffff)
  return (
    chars16(QUESTION_POINTER) +
    chars16(type) +
    chars16(CLASS.IN) +
    ttl +
    chars16(data.length) +
    data
  )
}

function chars16(value: number): string {
  return String.fromCharCode((value >> 8) & 0xff, value & 0xff)
}
