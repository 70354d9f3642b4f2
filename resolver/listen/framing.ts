/**
 * Messages out of a TCP byte stream: two bytes of length, then the message (RFC 1035 §4.2.2).
 * Pure: it holds bytes, not sockets. Frames too short for a header are skipped, so that one bad
 * frame costs its sender nothing but that frame.
 */

import { HEADER_BYTES } from '../accept.js'

const LENGTH_BYTES = 2
const FIRST_CAPACITY = 512
const NOTHING = Buffer.alloc(0)

/** Holds what has arrived and is not yet a whole message. Bytes out are views: copy to keep. */
export class FrameReader {
  #bytes = NOTHING
  #start = 0
  #end = 0

  /** Adds what has arrived. Views handed out before are no longer valid. */
  push(chunk: Buffer): void {
    const held = this.#end - this.#start
    if (this.#end + chunk.length > this.#bytes.length) this.#makeRoom(held + chunk.length)
    chunk.copy(this.#bytes, this.#end)
    this.#end += chunk.length
  }

  /** The next whole message of at least 12 bytes, or undefined until more has arrived. */
  next(): Buffer | undefined {
    while (this.#end - this.#start >= LENGTH_BYTES) {
      const length = this.#bytes.readUInt16BE(this.#start)
      const from = this.#start + LENGTH_BYTES
      if (this.#end < from + length) return undefined
      this.#start = from + length
      if (length >= HEADER_BYTES) return this.#bytes.subarray(from, from + length)
    }
    if (this.#start === this.#end) this.#release()
    return undefined
  }

  /** Doubles, so that a message that arrives byte by byte is not copied once a byte. */
  #makeRoom(needed: number): void {
    const isRoomy = needed * 2 <= this.#bytes.length
    const capacity = Math.max(needed * 2, FIRST_CAPACITY)
    const next = isRoomy ? this.#bytes : Buffer.allocUnsafeSlow(capacity)
    this.#bytes.copy(next, 0, this.#start, this.#end)
    this.#bytes = next
    this.#end -= this.#start
    this.#start = 0
  }

  /** An idle connection holds no memory. */
  #release(): void {
    this.#bytes = NOTHING
    this.#start = this.#end = 0
  }
}

/** A message with its length in front, ready to write; the bytes are copied. */
export function composeFrame(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + message.length)
  frame.writeUInt16BE(message.length, 0)
  message.copy(frame, LENGTH_BYTES)
  return frame
}
