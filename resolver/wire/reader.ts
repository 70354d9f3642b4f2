/** Reads the fields of one message in order; every read beyond its bounds is a typed error. */

import { ResolverError } from '../error.js'

/** Pointers followed for one name. Names have at most 127 labels, so an honest one needs fewer. */
const MAX_POINTERS = 127

/** A cursor over `bytes` up to `end`. Throws ResolverError `MESSAGE_INVALID`. */
export class Reader {
  readonly bytes: Buffer
  readonly end: number
  at: number

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  get left(): number {
    return this.end - this.at
  }

  uint8(): number {
    return this.bytes.readUInt8(this.take(1))
  }

  uint16(): number {
    return this.bytes.readUInt16BE(this.take(2))
  }

  uint32(): number {
    return this.bytes.readUInt32BE(this.take(4))
  }

  /** The next `length` bytes, not copied. */
  raw(length: number): Buffer {
    const from = this.take(length)
    return this.bytes.subarray(from, from + length)
  }

  /** A reader of the next `length` bytes that still follows pointers into the whole message. */
  part(length: number): Reader {
    const from = this.take(length)
    return new Reader(this.bytes, from, from + length)
  }

  /** A character string (RFC 1035 §3.3). */
  characters(): Buffer {
    return this.raw(this.uint8())
  }

  /** A name as wire text without the root byte. Every pointer must lead further back. */
  name(): string {
    let wire = ''
    let at = this.at
    let end = this.end
    let isFollowing = false
    for (let hops = 0; hops <= MAX_POINTERS;) {
      if (at >= end) throw bad('a name is cut')
      const length = this.bytes[at] ?? 0
      if (length >= 0xc0) {
        if (at + 2 > end) throw bad('a name is cut')
        const target = this.bytes.readUInt16BE(at) & 0x3fff
        if (!isFollowing) this.at = at + 2
        isFollowing = true
        if (target >= at) throw bad('a name points forward')
        end = at
        at = target
        hops++
        continue
      }
      if (length > 63) throw bad('a label has a reserved type')
      if (length === 0) {
        if (!isFollowing) this.at = at + 1
        return wire
      }
      if (at + 1 + length > end) throw bad('a label is cut')
      wire += this.bytes.toString('latin1', at, at + 1 + length)
      if (wire.length > 254) throw bad('a name has more than 255 bytes')
      at += 1 + length
    }
    throw bad('a name has too many pointers')
  }

  private take(length: number): number {
    const from = this.at
    if (from + length > this.end) throw bad(`${length} bytes are missing at offset ${from}`)
    this.at = from + length
    return from
  }
}

function bad(found: string): ResolverError {
  return new ResolverError(
    'MESSAGE_INVALID',
    `Cannot read the DNS message: ${found}; it must be one whole message`,
  )
}
