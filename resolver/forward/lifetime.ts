/**
 * How long a reply may be kept, and what its TTLs are later. Works on the reply's own bytes: the
 * places of its TTLs are found once, an aged copy only overwrites them. Pure.
 */

import { FLAG, HEADER_BYTES } from '../accept.js'
import { skipName, uint16 } from '../message.js'
import { RCODE } from '../rcode.js'
import { TYPE } from '../rr.js'

/** The longest we keep an answer, and a negative one, whatever its TTL. */
export const MAX_POSITIVE_SECONDS = 60
export const MAX_NEGATIVE_SECONDS = 30

/** A TTL with the high bit set is zero (RFC 2181 §8). */
const MAX_TTL = 0x7fffffff

/** What the records of a reply say about time. */
export interface Lifetime {
  /** Seconds for which the whole reply may be repeated; 0: not at all. */
  readonly seconds: number
  /** Where the four bytes of each TTL are, OPT aside. */
  readonly ttlOffsets: readonly number[]
}

/** Measures `reply`, whose question ends at `questionEnd`; undefined where it does not parse. */
export function measureLifetime(reply: Buffer, questionEnd: number): Lifetime | undefined {
  const ttlOffsets: number[] = []
  const answers = uint16(reply, 6)
  const authorities = answers + uint16(reply, 8)
  const count = authorities + uint16(reply, 10)
  let least = Infinity
  let negative: number | undefined
  let at = questionEnd
  for (let i = 0; i < count; i++) {
    const fixed = skipName(reply, 0, at, reply.length)
    if (fixed < 0 || fixed + 10 > reply.length) return undefined
    at = fixed + 10 + uint16(reply, fixed + 8)
    if (at > reply.length) return undefined
    const type = uint16(reply, fixed)
    if (type === TYPE.OPT) continue
    const ttl = readTtl(reply, fixed + 4)
    ttlOffsets.push(fixed + 4)
    least = Math.min(least, ttl)
    if (type === TYPE.SOA && i >= answers && i < authorities && at - fixed >= 10 + 22) {
      // RFC 2308 §5: the lesser of the SOA's own TTL and its MINIMUM, the last field.
      negative = Math.min(ttl, readTtl(reply, at - 4))
    }
  }
  return { seconds: wholeSeconds(uint16(reply, 2), answers, least, negative), ttlOffsets }
}

/** Lowers every TTL of `reply` by `elapsedSeconds`, to 0 at the least, in place. */
export function ageTtls(
  reply: Buffer,
  ttlOffsets: readonly number[],
  elapsedSeconds: number,
): void {
  for (const at of ttlOffsets) {
    reply.writeUInt32BE(Math.max(0, readTtl(reply, at) - elapsedSeconds), at)
  }
}

/** Sets every TTL of `reply` to `seconds`, in place. */
export function setTtls(reply: Buffer, ttlOffsets: readonly number[], seconds: number): void {
  for (const at of ttlOffsets) reply.writeUInt32BE(seconds, at)
}

function readTtl(reply: Buffer, at: number): number {
  if (at < HEADER_BYTES) return 0
  const ttl = reply.readUInt32BE(at)
  return ttl > MAX_TTL ? 0 : ttl
}

function wholeSeconds(
  flags: number,
  answers: number,
  least: number,
  negative: number | undefined,
): number {
  const rcode = flags & FLAG.RCODE
  if ((flags & FLAG.TC) !== 0) return 0
  if (rcode === RCODE.NOERROR && answers > 0 && negative === undefined) {
    return Math.min(least, MAX_POSITIVE_SECONDS)
  }
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return 0
  // RFC 2308 §5: a negative answer without an SOA must not be kept.
  return negative === undefined ? 0 : Math.min(least, negative, MAX_NEGATIVE_SECONDS)
}
