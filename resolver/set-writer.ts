/**
 * Writes compiled record sets into a reply: in random order, as many whole records as fit, TC
 * where some did not (RFC 2181 §9), then the glue of SRV targets as far as there is room.
 */

import { write16 } from './compose.js'
import { type Rrset, SRV_TARGET_OFFSET } from './rrset.js'

const TC_HIGH = 0x02

/** Bytes of an address record before its address: owner, type, class, TTL, length. */
const ADDRESS_OFFSET = 12

/** Holds the scratch of the shuffle. Not reentrant, as nothing here waits. */
export class SetWriter {
  readonly #random: () => number
  #order = new Uint32Array(64)

  constructor(random: () => number) {
    this.#random = random
  }

  /**
   * Writes `sets` at `pos` of the message at `at`, up to `end`; sets ANCOUNT, ARCOUNT and TC in
   * the header. Returns the offset after the last record.
   */
  write(sets: readonly Rrset[], out: Uint8Array, at: number, pos: number, end: number): number {
    const first = pos
    let answers = 0
    for (let i = 0; i < sets.length; i++) {
      const set = sets[i]
      if (set === undefined) continue
      const before = pos
      pos =
        set.stride > 0 ? this.#writeEven(set, out, pos, end) : this.#writeMixed(set, out, pos, end)
      const written = set.stride > 0 ? (pos - before) / set.stride : this.#written
      answers += written
      if (written < set.count) {
        out[at + 2] = (out[at + 2] ?? 0) | TC_HIGH
        write16(out, at + 6, answers)
        return pos
      }
    }
    write16(out, at + 6, answers)
    const only = sets[0]
    return only === undefined || only.glue.length === 0
      ? pos
      : this.#writeGlue(only, out, at, first, pos, end)
  }

  /** How many records the last `#writeMixed` wrote. */
  #written = 0

  /** Records of one size. Any prefix of a Fisher-Yates shuffle is a uniform sample in order. */
  #writeEven(set: Rrset, out: Uint8Array, pos: number, end: number): number {
    const { bytes, stride, count } = set
    const fitting = Math.min(count, Math.floor((end - pos) / stride))
    if (count === 1) {
      if (fitting === 1) for (let i = 0; i < stride; i++) out[pos + i] = bytes[i] ?? 0
      return pos + fitting * stride
    }
    // All records of a set are alike up to the address: one copy, then only addresses move.
    out.set(fitting === count ? bytes : bytes.subarray(0, fitting * stride), pos)
    const order = this.#startShuffle(count)
    for (let i = 0; i < fitting; i++) {
      let from = this.#draw(order, i, count) * stride + ADDRESS_OFFSET
      const stop = from + stride - ADDRESS_OFFSET
      for (let to = pos + i * stride + ADDRESS_OFFSET; from < stop;) {
        out[to++] = bytes[from++] ?? 0
      }
    }
    return pos + fitting * stride
  }

  #writeMixed(set: Rrset, out: Uint8Array, pos: number, end: number): number {
    const { bytes, offsets, count } = set
    const order = this.#startShuffle(count)
    this.#written = 0
    for (let i = 0; i < count; i++) {
      const index = this.#draw(order, i, count)
      const from = offsets[index] ?? 0
      const stop = offsets[index + 1] ?? from
      if (pos + stop - from > end) return pos
      for (let j = from; j < stop; j++) out[pos++] = bytes[j] ?? 0
      this.#written++
    }
    return pos
  }

  /** After all records of `set`, written from `first` in the current order: whole glue sets. */
  #writeGlue(
    set: Rrset,
    out: Uint8Array,
    at: number,
    first: number,
    pos: number,
    end: number,
  ): number {
    let additional = 0
    let target = first + SRV_TARGET_OFFSET - at
    for (let i = 0; i < set.count; i++) {
      const index = this.#order[i] ?? 0
      for (const glue of set.glue[index] ?? []) {
        const length = glue.bytes.length
        // A name beyond 16 KiB cannot be pointed to (RFC 1035 §4.1.4).
        if (pos + length > end || target >= 0x4000) continue
        for (let j = 0; j < length; j++) out[pos + j] = glue.bytes[j] ?? 0
        for (let j = 0; j < length; j += glue.stride) write16(out, pos + j, 0xc000 | target)
        pos += length
        additional += glue.count
      }
      target += (set.offsets[index + 1] ?? 0) - (set.offsets[index] ?? 0)
    }
    write16(out, at + 10, additional)
    return pos
  }

  #startShuffle(count: number): Uint32Array {
    if (count > this.#order.length) this.#order = new Uint32Array(count)
    const order = this.#order
    for (let i = 0; i < count; i++) order[i] = i
    return order
  }

  /** Draws the i-th of `count`: one of those not drawn yet, each as likely. */
  #draw(order: Uint32Array, i: number, count: number): number {
    const j = i + Math.floor(this.#random() * (count - i))
    const drawn = order[j] ?? 0
    order[j] = order[i] ?? 0
    order[i] = drawn
    return drawn
  }
}
