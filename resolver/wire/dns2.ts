/**
 * The one door to npm dns2: its decoder, behind guards, as an independent reader of our bytes in
 * tests and off the hot path. Nothing is encoded with it: it cannot keep a name's bytes.
 *
 * The guards: it loops over the header's counts, and a chain of compression pointers in a long
 * message costs it 100 ms and more; labels holding dots come out joined.
 */

import { Packet } from 'dns2'
import { HEADER_BYTES } from '../accept.js'
import { uint16 } from '../message.js'

/** A decoded record: the fields that dns2 gives for its type, in its own words. */
export type Dns2Record = ReturnType<typeof Packet.parse>['answers'][number]

export interface Dns2Message {
  readonly id: number
  readonly rcode: number
  readonly isResponse: boolean
  readonly isAuthoritative: boolean
  readonly isTruncated: boolean
  /** dns2 drops the final dot of names. */
  readonly questions: readonly {
    readonly name: string
    readonly type: number
    readonly class: number
  }[]
  readonly answers: readonly Dns2Record[]
  readonly authorities: readonly Dns2Record[]
  readonly additionals: readonly Dns2Record[]
}

/** The longest message that is handed to dns2: 4096 bytes, as our UDP. */
export const MAX_DNS2_BYTES = 4096

/** An empty name and the fixed fields of a record (RFC 1035 §4.1.3) or question. */
const RECORD_BYTES = 11
const QUESTION_BYTES = 5

/** Decodes a message with dns2; undefined where a guard or dns2 itself refuses any part of it. */
export function decodeWithDns2(bytes: Buffer): Dns2Message | undefined {
  if (!isHarmless(bytes)) return undefined
  const packet = tryParse(bytes)
  if (packet === undefined || packet.errors.length > 0) return undefined
  const { id, rcode, qr, aa, tc } = packet.header
  const { questions, answers, authorities, additionals } = packet
  return {
    id,
    rcode,
    isResponse: qr === 1,
    isAuthoritative: aa === 1,
    isTruncated: tc === 1,
    questions: questions.map(({ name, type, class: cls }) => ({ name, type, class: cls })),
    answers,
    authorities,
    additionals,
  }
}

function isHarmless(bytes: Buffer): boolean {
  if (bytes.length < HEADER_BYTES || bytes.length > MAX_DNS2_BYTES) return false
  const records = uint16(bytes, 6) + uint16(bytes, 8) + uint16(bytes, 10)
  const least = HEADER_BYTES + uint16(bytes, 4) * QUESTION_BYTES + records * RECORD_BYTES
  return least <= bytes.length
}

function tryParse(bytes: Buffer): ReturnType<typeof Packet.parse> | undefined {
  try {
    return Packet.parse(bytes)
  } catch {
    // What dns2 throws has no stable shape, and all of it means the same here.
    return undefined
  }
}
