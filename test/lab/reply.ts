/** What a reply says, in the words of the specification, and what every reply must keep to. Pure. */

import { formatRcode } from '../../resolver/rcode.js'
import { parseMessage, type TextMessage } from '../../resolver/wire/message-text.js'

const QR = 0x8000
const OPCODE = 0x7800
const AA = 0x0400
const RD = 0x0100
const RA = 0x0080
const Z = 0x0040
const AD = 0x0020
const CD = 0x0010

/**
 * `172.30.1.3`, `{172.30.1.2, 172.30.1.3}`, `ND wild.` (NODATA, owner of its SOA), `NXDOMAIN`, `REFUSED`.
 * Sets are sorted; the SOA of an upstream's negative answer is not shown.
 */
export function describeReply(message: TextMessage, isForwarded: boolean): string {
  if (message.rcode !== 0) return formatRcode(message.rcode)
  const data = message.answers.map(answer => answer.data).sort()
  if (data.length === 1) return data[0] ?? ''
  if (data.length > 1) return formatSet(data)
  const apex = message.authorities.length === 1 ? message.authorities[0] : undefined
  if (apex?.type !== 'SOA') return 'NOERROR without answers or SOA'
  return isForwarded ? 'ND' : `ND ${apex.name}`
}

/** As describeReply() shows a set. */
export function formatSet(data: readonly string[]): string {
  return data.length === 1 ? (data[0] ?? '') : `{${[...data].sort().join(', ')}}`
}

/** Where `reply` breaks what the specification says of every reply; empty where it keeps to it. */
export function findFaults(query: Buffer, reply: Buffer, isForwarded: boolean): string[] {
  const message = parseMessage(reply)
  const asked = query.readUInt16BE(2)
  const { flags, rcode } = message
  const isAnswer = rcode === 0 || rcode === 3
  const rules: readonly (readonly [string, boolean])[] = [
    ['id', message.id === query.readUInt16BE(0)],
    ['QR=1', (flags & QR) !== 0],
    ['opcode', (flags & OPCODE) === (asked & OPCODE)],
    ['RD', (flags & RD) === (asked & RD)],
    ['CD', (flags & CD) === (asked & CD)],
    ['RA=1', (flags & RA) !== 0],
    ['AD=0', (flags & AD) === 0],
    ['Z=0', (flags & Z) === 0],
    ['AA=1', isForwarded || !isAnswer || (flags & AA) !== 0],
    ['question bytes', hasQuestionOf(query, reply)],
    ['OPT iff asked', (message.edns !== undefined) === hasOpt(query)],
  ]
  return rules.filter(([, holds]) => !holds).map(([rule]) => rule)
}

/** A FORMERR or NOTIMP of a header alone has no question to echo. */
function hasQuestionOf(query: Buffer, reply: Buffer): boolean {
  if (reply.length === 12) return reply.readUInt16BE(4) === 0
  const question = query.subarray(12, questionEnd(query))
  return question.equals(reply.subarray(12, 12 + question.length))
}

function questionEnd(query: Buffer): number {
  let at = 12
  for (let length = query[at] ?? 0; length !== 0; length = query[at] ?? 0) at += length + 1
  return at + 5
}

/** An unreadable query counts as one without. */
function hasOpt(query: Buffer): boolean {
  try {
    return parseMessage(query).edns !== undefined
  } catch {
    return false
  }
}
