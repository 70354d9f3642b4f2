/**
 * Parses a query as far as answering needs: the header, the one question, the OPT record. Other
 * records are skipped if they parse. The counts of the header bound nothing: every record takes
 * at least 11 bytes of the packet, and the first that does not fit ends the walk.
 */

import { ACCEPT, HEADER_BYTES, REJECT_SILENTLY, acceptHeader } from './accept.js'
import type { NameKey } from './name.js'
import { RCODE } from './rcode.js'
import { TYPE } from './rr.js'

/** What the client's OPT record says (RFC 6891 §6.1). */
export interface Edns {
  /** The client's UDP payload size, at least 512 (RFC 6891 §6.2.3). */
  readonly udpSize: number
  readonly version: number
  readonly do: boolean
}

/** One question that can be answered. Offsets count from the message's first byte. */
export interface Query {
  readonly kind: 'query'
  readonly id: number
  /** Bytes 2-3 of the header as sent. */
  readonly flags: number
  readonly name: NameKey
  readonly type: number
  readonly class: number
  /** Where the question ends: 12 + the name + 4. */
  readonly questionEnd: number
  readonly edns: Edns | undefined
}

/** A packet that gets an error reply, or, where `rcode` is `NO_REPLY`, none. */
export interface ParseFailure {
  readonly kind: 'failure'
  readonly rcode: number
  /** Where the question ends, or 12 where the reply cannot repeat one. */
  readonly questionEnd: number
  /** The client's OPT, so far as it was seen before the failure. */
  readonly edns: Edns | undefined
  /** One phrase for the extended error. */
  readonly reason: string
}

/** `rcode` of a failure that must not be answered: a response, or less than a header. */
export const NO_REPLY = -1

/** RFC 6891 §6.2.3: smaller sizes are read as this. */
export const MIN_UDP_BYTES = 512

const folded = Buffer.alloc(256)

/** Parses packet[start, end). Never throws; a query with EDNS version above 0 is BADVERS. */
export function parseQuery(packet: Buffer, start: number, end: number): Query | ParseFailure {
  const acceptance = acceptHeader(packet, start, end)
  if (acceptance !== ACCEPT) {
    const rcode = acceptance === REJECT_SILENTLY ? NO_REPLY : acceptance
    return failure(rcode, HEADER_BYTES, undefined, 'not one standard query')
  }
  const nameEnd = foldQuestionName(packet, start + HEADER_BYTES, end)
  if (nameEnd < 0 || nameEnd + 4 > end) {
    return failure(RCODE.FORMERR, HEADER_BYTES, undefined, 'bad question')
  }
  const questionEnd = nameEnd + 4 - start
  const edns = parseRecords(packet, start, nameEnd + 4, end)
  if (edns !== undefined && 'reason' in edns) {
    return failure(RCODE.FORMERR, questionEnd, edns.edns, edns.reason)
  }
  if (edns !== undefined && edns.version > 0) {
    return failure(RCODE.BADVERS, questionEnd, edns, '')
  }
  return {
    kind: 'query',
    id: uint16(packet, start),
    flags: uint16(packet, start + 2),
    name: folded.toString('latin1', 0, nameEnd - start - HEADER_BYTES - 1),
    type: uint16(packet, nameEnd),
    class: uint16(packet, nameEnd + 2),
    questionEnd,
    edns,
  }
}

/**
 * Where the name at `at` ends in its section, or -1 where it is cut, has a reserved label type,
 * or a pointer that does not point back. Pointers are not followed.
 */
export function skipName(packet: Uint8Array, start: number, at: number, end: number): number {
  const first = at
  while (at < end) {
    const length = packet[at] ?? 0
    if (length === 0) return at + 1 - first > 255 ? -1 : at + 1
    if (length >= 0xc0) {
      if (at + 2 > end) return -1
      const target = ((length & 0x3f) << 8) | (packet[at + 1] ?? 0)
      return target >= HEADER_BYTES && start + target < first ? at + 2 : -1
    }
    if (length > 63) return -1
    at += length + 1
    if (at - first > 254) return -1
  }
  return -1
}

/** The 16 bits at `at`, big-endian. The caller has checked that they are inside. */
export function uint16(packet: Uint8Array, at: number): number {
  return ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0)
}

/** Folds the question's name into `folded`; returns its end, or -1. A pointer is refused. */
function foldQuestionName(packet: Buffer, first: number, end: number): number {
  let at = first
  let labelEnd = first
  const last = Math.min(end, first + 255)
  for (; at < last; at++) {
    const byte = packet[at] ?? 0
    if (at !== labelEnd) {
      folded[at - first] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    } else {
      if (byte === 0) return at + 1
      if (byte > 63) return -1
      folded[at - first] = byte
      labelEnd = at + byte + 1
    }
  }
  return -1
}

interface BadRecords {
  readonly reason: string
  readonly edns: Edns | undefined
}

/** Walks the three record sections; returns the OPT of the additional one. */
function parseRecords(
  packet: Buffer,
  start: number,
  at: number,
  end: number,
): Edns | BadRecords | undefined {
  const others = uint16(packet, start + 6) + uint16(packet, start + 8)
  const count = others + uint16(packet, start + 10)
  let edns: Edns | undefined
  for (let i = 0; i < count; i++) {
    const first = at
    const fixed = skipName(packet, start, at, end)
    if (fixed < 0 || fixed + 10 > end) return { reason: 'cut record', edns }
    const dataEnd = fixed + 10 + uint16(packet, fixed + 8)
    if (uint16(packet, fixed) === TYPE.OPT && i >= others) {
      if (edns !== undefined) return { reason: 'two OPT records', edns }
      edns = parseEdns(packet, fixed)
      if (packet[first] !== 0) return { reason: 'OPT record not at the root', edns }
      if (dataEnd > end || !areOptionsWhole(packet, fixed + 10, dataEnd)) {
        return { reason: 'cut EDNS option', edns }
      }
    }
    if (dataEnd > end) return { reason: 'cut record', edns }
    at = dataEnd
  }
  return edns
}

function parseEdns(packet: Buffer, fixed: number): Edns {
  return {
    udpSize: Math.max(uint16(packet, fixed + 2), MIN_UDP_BYTES),
    version: packet[fixed + 5] ?? 0,
    do: ((packet[fixed + 6] ?? 0) & 0x80) !== 0,
  }
}

function areOptionsWhole(packet: Buffer, at: number, end: number): boolean {
  while (at < end) {
    if (at + 4 > end) return false
    at += 4 + uint16(packet, at + 2)
  }
  return at === end
}

function failure(
  rcode: number,
  questionEnd: number,
  edns: Edns | undefined,
  reason: string,
): ParseFailure {
  return { kind: 'failure', rcode, questionEnd, edns, reason }
}
