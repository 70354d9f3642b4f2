/**
 * Recognises our own upstream queries when they come back to us as a client's: an upstream that
 * forwards to us, or is us. Random id and letter case make a chance match as good as impossible.
 */

import { HEADER_BYTES } from '../accept.js'

export class LoopGuard {
  readonly #sent = new Map<number, Buffer>()

  /** `packet` is in flight. Of two with one id the later is watched; the next lap meets the other. */
  add(packet: Buffer): void {
    this.#sent.set(packet.readUInt16BE(0), packet)
  }

  /** `packet` is no longer in flight. */
  remove(packet: Buffer): void {
    const id = packet.readUInt16BE(0)
    if (this.#sent.get(id) === packet) this.#sent.delete(id)
  }

  /** True where `query`, with its question up to `questionEnd`, is a packet of ours in flight. */
  sees(query: Buffer, questionEnd: number): boolean {
    const packet = this.#sent.get(query.readUInt16BE(0))
    if (packet === undefined || packet.length < questionEnd) return false
    return packet.compare(query, HEADER_BYTES, questionEnd, HEADER_BYTES, questionEnd) === 0
  }
}
