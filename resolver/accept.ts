/**
 * Decides from the 12 header bytes whether a packet is worth parsing. A response is dropped: two
 * servers that answer responses ping-pong forever from one spoofed packet.
 */

import { RCODE } from './rcode.js'

/** RFC 1035 §4.1.1. */
export const HEADER_BYTES = 12

/** Header flag bits, as in bytes 2-3 read big-endian (RFC 1035 §4.1.1, RFC 4035 §3.2). */
export const FLAG = {
  QR: 0x8000,
  OPCODE: 0x7800,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  Z: 0x0040,
  AD: 0x0020,
  CD: 0x0010,
  RCODE: 0x000f,
} as const

/** `ACCEPT`, `REJECT_SILENTLY`, or the rcode of a header-only reply. */
export type Acceptance = number
export const ACCEPT = 0
export const REJECT_SILENTLY = -1

/** Reads packet[start, end). Only QUERY with exactly one question is accepted. */
export function acceptHeader(packet: Uint8Array, start: number, end: number): Acceptance {
  if (end - start < HEADER_BYTES) return REJECT_SILENTLY
  const flags = packet[start + 2] ?? 0
  if ((flags & 0x80) !== 0) return REJECT_SILENTLY
  if ((flags & 0x78) !== 0) return RCODE.NOTIMP
  if (packet[start + 4] !== 0 || packet[start + 5] !== 1) return RCODE.FORMERR
  return ACCEPT
}
