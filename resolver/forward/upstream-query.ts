/**
 * The bytes we send upstream and whether a reply is the one to them. The question is copied, never
 * re-encoded; the OPT record is ours (RFC 6891 §6.1.1), so is the spelling of the name (0x20:
 * draft-vixie-dnsext-dns0x20), which makes a forged reply guess one more bit a letter. Pure.
 */

import { FLAG, HEADER_BYTES } from '../accept.js'
import { uint16 } from '../message.js'
import { RCODE } from '../rcode.js'
import type { Query } from '../message.js'
import type { RandomSource } from './random.js'

/** Our UDP payload size: fits an IPv6 packet of 1280 bytes (RFC 9715 §3.1). */
export const UPSTREAM_UDP_BYTES = 1232

const OPT_BYTES = 11
const DO_BYTE = 0x80

/** How to ask: with an OPT record or not, with mixed case or as the client spelt it. */
export interface AskingStyle {
  readonly hasEdns: boolean
  readonly mixesCase: boolean
}

/**
 * The query for an upstream with id 0: RD, CD and DO as the client had them, one question, no
 * other record but our OPT.
 */
export function composeUpstreamQuery(
  client: Buffer,
  query: Query,
  style: AskingStyle,
  random: RandomSource,
): Buffer {
  const end = query.questionEnd
  const packet = Buffer.allocUnsafe(style.hasEdns ? end + OPT_BYTES : end)
  const flags = query.flags & (FLAG.RD | FLAG.CD)
  packet.fill(0, 0, HEADER_BYTES)
  packet[2] = flags >> 8
  packet[3] = flags & 0xff
  packet[5] = 1
  client.copy(packet, HEADER_BYTES, HEADER_BYTES, end)
  if (style.mixesCase) mixCase(packet, HEADER_BYTES, end - 4, random)
  if (style.hasEdns) {
    packet[11] = 1
    composeOpt(packet, end, query.edns?.do === true)
  }
  return packet
}

/** The probe of an upstream's health: `. NS`, RD, no EDNS; any reply will do. */
export function composeProbe(): Buffer {
  return Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])
}

/** What a packet from an upstream is to the query that has its id. */
export type ReplyMatch =
  | 'reply' // it answers this query
  | 'case' //  it answers this query but for the letters' case: forged, or a server that folds
  | 'other' // it answers something else, or is no reply at all

/** Compares `reply` with `sent`, whose question ends at `questionEnd`. */
export function matchReply(sent: Buffer, questionEnd: number, reply: Buffer): ReplyMatch {
  if (reply.length < HEADER_BYTES || uint16(sent, 0) !== uint16(reply, 0)) return 'other'
  const flags = uint16(reply, 2)
  if ((flags & FLAG.QR) === 0 || (flags & FLAG.OPCODE) !== 0) return 'other'
  const count = uint16(reply, 4)
  if (count === 0) return isHeaderOnlyAllowed(flags & FLAG.RCODE) ? 'reply' : 'other'
  if (count !== 1 || reply.length < questionEnd) return 'other'
  let match: ReplyMatch = 'reply'
  const nameEnd = questionEnd - 4
  for (let at = HEADER_BYTES; at < questionEnd; at++) {
    const a = sent[at] ?? 0
    const b = reply[at] ?? 0
    if (a === b) continue
    if (at >= nameEnd || (a ^ b) !== 0x20 || !isLetter(a)) return 'other'
    match = 'case'
  }
  return match
}

/** Servers that could not read the query may not repeat its question. */
function isHeaderOnlyAllowed(rcode: number): boolean {
  return rcode === RCODE.FORMERR || rcode === RCODE.NOTIMP
}

/** Length bytes are below 64 and so never taken for a letter. */
function mixCase(packet: Buffer, at: number, end: number, random: RandomSource): void {
  let bits = 0
  let left = 0
  for (; at < end; at++) {
    const byte = packet[at] ?? 0
    if (!isLetter(byte)) continue
    if (left === 0) {
      bits = random()
      left = 32
    }
    packet[at] = (byte & ~0x20) | ((bits & 1) << 5)
    bits >>>= 1
    left--
  }
}

function isLetter(byte: number): boolean {
  const upper = byte & ~0x20
  return upper >= 0x41 && upper <= 0x5a
}

function composeOpt(packet: Buffer, at: number, isDnssecWanted: boolean): void {
  packet.fill(0, at)
  packet[at + 2] = 41
  packet[at + 3] = UPSTREAM_UDP_BYTES >> 8
  packet[at + 4] = UPSTREAM_UDP_BYTES & 0xff
  if (isDnssecWanted) packet[at + 7] = DO_BYTE
}
