/** Adds an extended error to a reply that already fits its client (RFC 8914 §2). Pure. */

import { uint16 } from '../message.js'
import type { ExtendedError } from '../rcode.js'

const OPTION_CODE = 15
const OPT_BYTES = 11

/**
 * `reply` with `error` in its OPT record, which `fitReply` puts last and without options; as it
 * was where there is no OPT, or no room below `limit`.
 */
export function appendExtendedError(reply: Buffer, error: ExtendedError, limit: number): Buffer {
  const opt = reply.length - OPT_BYTES
  const optionBytes = 4 + 2 + error.text.length
  const hasOpt = opt >= 12 && uint16(reply, 10) > 0 && uint16(reply, opt + 1) === 41
  if (!hasOpt || reply[opt] !== 0 || uint16(reply, opt + 9) !== 0) return reply
  if (reply.length + optionBytes > limit) return reply
  const out = Buffer.alloc(reply.length + optionBytes)
  reply.copy(out)
  out.writeUInt16BE(optionBytes, opt + 9)
  out.writeUInt16BE(OPTION_CODE, reply.length)
  out.writeUInt16BE(2 + error.text.length, reply.length + 2)
  out.writeUInt16BE(error.code, reply.length + 4)
  out.write(error.text, reply.length + 6, 'latin1')
  return out
}
