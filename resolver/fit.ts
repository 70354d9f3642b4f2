/**
 * Fits bytes to a client: an upstream's reply, or a failure without records. Records pass as
 * bytes; nothing is decoded that need not be. Whatever stands behind a cut or a removed OPT is
 * dropped too, because compression pointers (RFC 1035 §4.1.4) count from the message's start.
 */

import { FLAG, HEADER_BYTES } from './accept.js'
import { OPT_BYTES, startReply, write16, writeOpt } from './compose.js'
import { type Edns, type Query, parseQuery, skipName, uint16 } from './message.js'
import { type ExtendedError, RCODE } from './rcode.js'
import { TYPE } from './rr.js'

/** How many bytes a client takes: by TCP all, by UDP what its OPT says, 512 without, up to `cap`. */
export function clientLimit(query: Query, transport: 'udp' | 'tcp', cap: number): number {
  if (transport === 'tcp') return 0xffff
  return query.edns === undefined ? MIN_UDP_BYTES : Math.min(query.edns.udpSize, cap)
}

const MIN_UDP_BYTES = 512

/**
 * The upstream's `reply` for the client that sent `query`: the client's id and question bytes,
 * AD and Z clear, RA set, our OPT iff the client sent one, at most `limit` bytes: as many whole
 * records as fit, and TC where an answer or authority record does not. A new buffer.
 *
 * Undefined where `query` is none, or `reply` is not a whole reply to its question.
 */
export function fitReply(reply: Buffer, query: Buffer, limit: number): Buffer | undefined {
  const parsed = parseQuery(query, 0, query.length)
  if (parsed.kind === 'failure' || !isReplyTo(reply, query, parsed.questionEnd)) return undefined
  const walk = walkRecords(reply, parsed.questionEnd, limit - optBytes(parsed.edns))
  if (walk === undefined) return undefined
  const rcode = (walk.extendedRcode << 4) | (uint16(reply, 2) & FLAG.RCODE)
  // Without an OPT the upper bits are lost: BADVERS would read NOERROR.
  const shown = parsed.edns === undefined && rcode > FLAG.RCODE ? RCODE.SERVFAIL : rcode
  const out = Buffer.allocUnsafe(walk.end + optBytes(parsed.edns))
  const kept = uint16(reply, 2) & (FLAG.AA | FLAG.TC)
  const flags = kept | (walk.isCut ? FLAG.TC : 0) | (shown & FLAG.RCODE)
  const pos = startReply(out, 0, query, 0, parsed.questionEnd, flags)
  reply.copy(out, pos, pos, walk.end)
  write16(out, 6, walk.counts[0])
  write16(out, 8, walk.counts[1])
  write16(out, 10, walk.counts[2] + (parsed.edns === undefined ? 0 : 1))
  if (parsed.edns !== undefined) writeOpt(out, walk.end, parsed.edns, shown)
  return out
}

/**
 * A reply to `query` with `rcode` and no records, OPT and extended error iff the client sent an
 * OPT. `query` needs its 12 header bytes; a question that cannot be read is left out.
 */
export function composeFailure(query: Buffer, rcode: number, ede?: ExtendedError): Buffer {
  const header = query.length < HEADER_BYTES ? Buffer.alloc(HEADER_BYTES) : query
  const { questionEnd, edns } = parseQuery(header, 0, header.length)
  const out = Buffer.alloc(questionEnd + OPT_BYTES + 6 + (ede?.text.length ?? 0))
  const shown = edns === undefined && rcode > FLAG.RCODE ? RCODE.SERVFAIL : rcode
  const pos = startReply(out, 0, header, 0, questionEnd, shown & FLAG.RCODE)
  if (edns === undefined) return out.subarray(0, pos)
  write16(out, 10, 1)
  return out.subarray(0, writeOpt(out, pos, edns, rcode, ede))
}

function optBytes(edns: Edns | undefined): number {
  return edns === undefined ? 0 : OPT_BYTES
}

/** True where `reply` is a response with the question of `query`, letter case aside. */
function isReplyTo(reply: Buffer, query: Buffer, questionEnd: number): boolean {
  if (reply.length < questionEnd || uint16(reply, 4) !== 1) return false
  if ((uint16(reply, 2) & (FLAG.QR | FLAG.OPCODE)) !== FLAG.QR) return false
  for (let i = HEADER_BYTES; i < questionEnd; i++) {
    const theirs = reply[i] ?? 0
    const ours = query[i] ?? 0
    // In the name only: 0x20 apart in the type or class is another type or class.
    const isCase = i < questionEnd - 4 && fold(theirs) === fold(ours)
    if (theirs !== ours && !isCase) return false
  }
  return true
}

function fold(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
}

interface Walk {
  /** Where the records to keep end. */
  readonly end: number
  readonly counts: readonly [number, number, number]
  readonly isCut: boolean
  readonly extendedRcode: number
}

/** Finds how many records of each section fit below `limit`; undefined where one does not parse. */
function walkRecords(reply: Buffer, at: number, limit: number): Walk | undefined {
  const counts: [number, number, number] = [0, 0, 0]
  let end = at
  let isCut = false
  let isKeeping = true
  let extendedRcode = 0
  for (const section of [0, 1, 2] as const) {
    const count = uint16(reply, 6 + section * 2)
    for (let i = 0; i < count; i++) {
      const fixed = skipName(reply, 0, at, reply.length)
      if (fixed < 0 || fixed + 10 > reply.length) return undefined
      at = fixed + 10 + uint16(reply, fixed + 8)
      if (at > reply.length) return undefined
      if (uint16(reply, fixed) === TYPE.OPT) {
        extendedRcode = reply[fixed + 4] ?? 0
        isKeeping = false
        continue
      }
      if (isKeeping && at <= limit) {
        counts[section]++
        end = at
      } else {
        isKeeping = false
        isCut ||= section < 2
      }
    }
  }
  return { end, counts, isCut, extendedRcode }
}
