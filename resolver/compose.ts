/**
 * Writes the parts of a reply into a buffer: header, question, SOA, OPT. Offsets of pointers
 * count from the message's first byte at `at`. Callers make sure that the parts fit.
 */

import { FLAG, HEADER_BYTES } from './accept.js'
import type { Edns } from './message.js'
import type { ExtendedError } from './rcode.js'
import { CLASS, TYPE } from './rr.js'

/** The UDP payload that our OPT offers: what the listeners receive. */
export const OUR_UDP_BYTES = 4096

/** An OPT record without options. */
export const OPT_BYTES = 11

/** An SOA record whose owner is a pointer, or one byte less where it is the root. */
export const SOA_BYTES = 35

/** SOA timers for caches that insist on them; MINIMUM 0 keeps a denial from being cached. */
const SOA_TIMERS = Buffer.from(
  [
    [0, 0, 0, 1], //       serial
    [0, 0, 0x0e, 0x10], // refresh 1 h
    [0, 0, 2, 0x58], //    retry 10 min
    [0, 1, 0x51, 0x80], // expire 1 day
    [0, 0, 0, 0], //       negative TTL (RFC 2308 §4)
  ].flat(),
)

/**
 * Writes header and question: id, opcode, RD, CD and the question's bytes as the client sent
 * them, QR and RA set, counts 1/0/0/0. Returns the offset after the question. `questionEnd` 12
 * repeats no question.
 */
export function startReply(
  out: Uint8Array,
  at: number,
  query: Uint8Array,
  start: number,
  questionEnd: number,
  flags: number,
): number {
  const high = query[start + 2] ?? 0
  const low = query[start + 3] ?? 0
  const kept = (high & ((FLAG.OPCODE | FLAG.RD) >> 8)) | ((FLAG.QR | flags) >> 8)
  out[at] = query[start] ?? 0
  out[at + 1] = query[start + 1] ?? 0
  out[at + 2] = kept
  out[at + 3] = (low & FLAG.CD) | FLAG.RA | (flags & 0xff)
  out[at + 4] = 0
  out[at + 5] = questionEnd > HEADER_BYTES ? 1 : 0
  for (let i = 6; i < HEADER_BYTES; i++) out[at + i] = 0
  for (let i = HEADER_BYTES; i < questionEnd; i++) out[at + i] = query[start + i] ?? 0
  return at + questionEnd
}

/**
 * Writes the SOA of a denial, TTL 0. `owner` is the offset of its name inside the message; the
 * server it names is that owner, its mailbox the root.
 */
export function writeSoa(out: Uint8Array, pos: number, owner: number, isRoot: boolean): number {
  pos = writeName(out, pos, owner, isRoot)
  pos = write16(out, pos, TYPE.SOA)
  pos = write16(out, pos, CLASS.IN)
  for (let i = 0; i < 4; i++) out[pos++] = 0
  pos = write16(out, pos, (isRoot ? 1 : 2) + 1 + SOA_TIMERS.length)
  pos = writeName(out, pos, owner, isRoot)
  out[pos++] = 0
  for (let i = 0; i < SOA_TIMERS.length; i++) out[pos++] = SOA_TIMERS[i] ?? 0
  return pos
}

/** Writes our OPT with the upper bits of `rcode`, and `error` as its only option (RFC 8914). */
export function writeOpt(
  out: Uint8Array,
  pos: number,
  edns: Edns,
  rcode: number,
  error?: ExtendedError,
): number {
  out[pos] = 0
  write16(out, pos + 1, TYPE.OPT)
  write16(out, pos + 3, OUR_UDP_BYTES)
  out[pos + 5] = rcode >> 4
  out[pos + 6] = 0
  write16(out, pos + 7, edns.do ? 0x8000 : 0)
  const text = error?.text ?? ''
  write16(out, pos + 9, error === undefined ? 0 : 6 + text.length)
  if (error === undefined) return pos + OPT_BYTES
  write16(out, pos + 11, EDE_OPTION)
  write16(out, pos + 13, 2 + text.length)
  write16(out, pos + 15, error.code)
  for (let i = 0; i < text.length; i++) out[pos + 17 + i] = text.charCodeAt(i)
  return pos + 17 + text.length
}

/** The EDNS option code of an extended error (RFC 8914 §2). */
const EDE_OPTION = 15

/** Writes 16 bits, big-endian; returns the offset after them. */
export function write16(out: Uint8Array, pos: number, value: number): number {
  out[pos] = value >> 8
  out[pos + 1] = value & 0xff
  return pos + 2
}

function writeName(out: Uint8Array, pos: number, offset: number, isRoot: boolean): number {
  if (!isRoot) return write16(out, pos, 0xc000 | offset)
  out[pos] = 0
  return pos + 1
}
