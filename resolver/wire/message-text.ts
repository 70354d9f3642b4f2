/**
 * A whole message as text, the way dig prints one: for tools, logs and tests. Safe against
 * hostile bytes; off the hot path.
 */

import { formatName } from '../name.js'
import { TYPE, formatClass, formatType } from '../rr.js'
import { ResolverError } from '../error.js'
import { formatRdata } from './rdata-text.js'
import { Reader } from './reader.js'

/** One record; `data` is its presentation form. */
export interface TextRecord {
  readonly name: string
  readonly type: string
  readonly class: string
  readonly ttl: number
  readonly data: string
}

export interface TextQuestion {
  readonly name: string
  readonly type: string
  readonly class: string
}

/** What the OPT record says, beside the extended rcode. */
export interface TextEdns {
  readonly udpSize: number
  readonly version: number
  readonly do: boolean
  /** `EDE 18 "text"`, `opt10 hex`; empty without options. */
  readonly options: string
}

export interface TextMessage {
  readonly id: number
  /** Bytes 2-3 of the header: QR, opcode, AA, TC, RD, RA, Z, AD, CD, rcode. */
  readonly flags: number
  /** With the upper bits from the OPT record (RFC 6891 §6.1.3). */
  readonly rcode: number
  readonly question: TextQuestion | undefined
  readonly answers: readonly TextRecord[]
  readonly authorities: readonly TextRecord[]
  /** Without the OPT record. */
  readonly additionals: readonly TextRecord[]
  readonly edns: TextEdns | undefined
}

/** Parses a message. Throws ResolverError `MESSAGE_INVALID` where it is not a whole one. */
export function parseMessage(bytes: Buffer): TextMessage {
  const reader = new Reader(bytes, 0, bytes.length)
  const id = reader.uint16()
  const flags = reader.uint16()
  const counts = [reader.uint16(), reader.uint16(), reader.uint16(), reader.uint16()] as const
  const questions = readSection(counts[0], () => readQuestion(reader))
  let edns: (TextEdns & { readonly extendedRcode: number }) | undefined
  const readRecords = (count: number): TextRecord[] =>
    readSection(count, () => {
      const name = reader.name()
      const type = reader.uint16()
      if (type !== TYPE.OPT) return readRecord(reader, name, type)
      edns = readEdns(reader)
      return undefined
    })
  const answers = readRecords(counts[1])
  const authorities = readRecords(counts[2])
  const additionals = readRecords(counts[3])
  const rcode = (flags & 15) | ((edns?.extendedRcode ?? 0) << 4)
  return { id, flags, rcode, question: questions[0], answers, authorities, additionals, edns }
}

/** Every element takes bytes, so a count beyond the message ends in an error, not in a loop. */
function readSection<T>(count: number, read: () => T | undefined): T[] {
  const elements: T[] = []
  for (let i = 0; i < count; i++) {
    const element = read()
    if (element !== undefined) elements.push(element)
  }
  return elements
}

function readQuestion(reader: Reader): TextQuestion {
  const name = formatName(reader.name())
  return { name, type: formatType(reader.uint16()), class: formatClass(reader.uint16()) }
}

function readRecord(reader: Reader, name: string, type: number): TextRecord {
  const cls = formatClass(reader.uint16())
  const ttl = reader.uint32()
  const data = reader.part(reader.uint16())
  const text = readData(type, data)
  return { name: formatName(name), type: formatType(type), class: cls, ttl, data: text }
}

/** RDATA that does not keep its type's form is shown raw: the record's bounds still hold. */
function readData(type: number, data: Reader): string {
  const start = data.at
  try {
    return formatRdata(type, data)
  } catch (error) {
    if (!(error instanceof ResolverError)) throw error
    return formatRdata(UNKNOWN_TYPE, new Reader(data.bytes, start, data.end))
  }
}

/** Has no text form of its own. */
const UNKNOWN_TYPE = 0

function readEdns(reader: Reader): TextEdns & { readonly extendedRcode: number } {
  const udpSize = reader.uint16()
  const extendedRcode = reader.uint8()
  const version = reader.uint8()
  const isDo = (reader.uint16() & 0x8000) !== 0
  const options = readData(TYPE.OPT, reader.part(reader.uint16()))
  return { udpSize, extendedRcode, version, do: isDo, options }
}
