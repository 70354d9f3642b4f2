/**
 * The memory of `recvmmsg` and `sendmmsg`: packets, peers, iovecs and headers in one block that is
 * built once and never moves. It moves packets in and out; it does not know what they say.
 *
 * Layout of struct mmsghdr on 64-bit Linux (bits/types/struct_msghdr.h), 64 bytes:
 * name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48, len 56.
 */

import { EAGAIN, EINTR, ENOBUFS, MSG_DONTWAIT, MSG_NOSIGNAL } from './libc.js'
import type { Libc } from './libc.js'

/** Packets a call. Above 64 a batch no longer pays for the memory it touches. */
const SLOTS = 64

/**
 * Room for one packet: 4096 bytes (queries are cut there, replies are composed to fit), and a
 * cache line more, so that the packets of a batch do not all compete for the same cache sets.
 */
const STRIDE = 4096 + 64
const PACKET_BYTES = 4096

/** struct sockaddr_in6, the larger of the two that a UDP socket deals in. */
const PEER_BYTES = 28
const PEER_STRIDE = 32
const HEADER_STRIDE = 64
const IOVEC_STRIDE = 16

/** Offsets of struct mmsghdr and struct iovec, in 32-bit words. */
const WORD = { name: 0, nameLength: 2, iov: 4, iovCount: 6, length: 14, base: 0, baseLength: 2 }

/** One a process: the main thread uses it within one callback and leaves nothing in it. */
let sharedBlock: MessageBlock | undefined

export class MessageBlock {
  /** How many packets one call moves. */
  readonly slots = SLOTS
  /** What `receive` filled; the packet of a slot starts at `offset(slot)`. */
  readonly received: Buffer
  /** What `send` sends; the reply of place `n` starts at `offset(n)`. */
  readonly outgoing: Buffer

  readonly #libc: Libc
  readonly #peers: Buffer
  readonly #receiveHeaders: Uint32Array
  readonly #sendHeaders: Uint32Array
  readonly #sendIovecs: Uint32Array
  readonly #receiveAddress: number
  readonly #sendAddress: number
  /** Slots whose peer length the kernel overwrote. */
  #used = 0

  static shared(libc: Libc): MessageBlock {
    sharedBlock ??= new MessageBlock(libc)
    return sharedBlock
  }

  constructor(libc: Libc) {
    const sizes = [SLOTS * STRIDE, SLOTS * STRIDE, SLOTS * PEER_STRIDE, SLOTS * HEADER_STRIDE]
    const total = sizes.reduce((sum, size) => sum + size, 0) + SLOTS * (64 + 2 * IOVEC_STRIDE)
    // One ArrayBuffer outside of V8's heap: its address holds for as long as we hold it.
    const memory = new ArrayBuffer(total)
    const base = Number(libc.addressOf(Buffer.from(memory)))
    const carver = new Carver(memory, base)
    const received = carver.take(SLOTS * STRIDE)
    const outgoing = carver.take(SLOTS * STRIDE)
    const peers = carver.take(SLOTS * PEER_STRIDE)
    const receiveIovecs = carver.take(SLOTS * IOVEC_STRIDE)
    const sendIovecs = carver.take(SLOTS * IOVEC_STRIDE)
    const receiveHeaders = carver.take(SLOTS * HEADER_STRIDE)
    const sendHeaders = carver.take(SLOTS * HEADER_STRIDE)

    this.#libc = libc
    this.received = received.bytes
    this.outgoing = outgoing.bytes
    this.#peers = peers.bytes
    this.#receiveHeaders = receiveHeaders.words
    this.#sendHeaders = sendHeaders.words
    this.#sendIovecs = sendIovecs.words
    this.#receiveAddress = receiveHeaders.address
    this.#sendAddress = sendHeaders.address
    for (let slot = 0; slot < SLOTS; slot++) {
      const peer = peers.address + slot * PEER_STRIDE
      fillHeader(receiveHeaders.words, slot, peer, receiveIovecs.address)
      fillHeader(sendHeaders.words, slot, peer, sendIovecs.address)
      fillIovec(receiveIovecs.words, slot, received.address + slot * STRIDE)
      fillIovec(sendIovecs.words, slot, outgoing.address + slot * STRIDE)
    }
  }

  /** Where the packet of a slot starts in `received`, and that of a place in `outgoing`. */
  offset(slot: number): number {
    return slot * STRIDE
  }

  /** Fills slots 0.. with packets that wait at `fd`; returns how many, 0 for none or an error. */
  receive(fd: number): number {
    const headers = this.#receiveHeaders
    for (let slot = 0; slot < this.#used; slot++) {
      headers[slot * 16 + WORD.nameLength] = PEER_BYTES
    }
    const count = this.#libc.recvmmsg(fd, this.#receiveAddress, SLOTS, MSG_DONTWAIT, 0)
    this.#used = Math.max(count, 0)
    return this.#used
  }

  /** Bytes in a slot. A packet over 4096 bytes is cut to 4096. */
  lengthOf(slot: number): number {
    return this.#receiveHeaders[slot * 16 + WORD.length] ?? 0
  }

  /** The UDP port the packet of a slot came from; 0 cannot be answered. */
  portOf(slot: number): number {
    // sin_port and sin6_port are both bytes 2 and 3, in network order.
    return this.#peers.readUInt16BE(slot * PEER_STRIDE + 2)
  }

  /** A copy of the socket address that the packet of a slot came from. */
  copyPeer(slot: number): Buffer {
    const start = slot * PEER_STRIDE
    const length = this.#receiveHeaders[slot * 16 + WORD.nameLength] ?? 0
    return Buffer.from(this.#peers.subarray(start, start + length))
  }

  /** A copy of the packet of a slot. */
  copyPacket(slot: number): Buffer {
    const start = slot * STRIDE
    return Buffer.from(this.received.subarray(start, start + this.lengthOf(slot)))
  }

  /** Addresses the `length` bytes at place `place` of `outgoing` to the peer of `slot`. */
  stage(place: number, slot: number, length: number): void {
    const from = slot * 16
    const to = place * 16
    const send = this.#sendHeaders
    const receive = this.#receiveHeaders
    send[to + WORD.name] = receive[from + WORD.name] ?? 0
    send[to + WORD.name + 1] = receive[from + WORD.name + 1] ?? 0
    send[to + WORD.nameLength] = receive[from + WORD.nameLength] ?? 0
    this.#sendIovecs[place * 4 + WORD.baseLength] = length
  }

  /** Sends places 0 to `count`; returns how many left. Never throws, never waits. */
  send(fd: number, count: number): number {
    let at = 0
    let sent = 0
    while (at < count) {
      const address = this.#sendAddress + at * HEADER_STRIDE
      const done = this.#libc.sendmmsg(fd, address, count - at, MSG_DONTWAIT | MSG_NOSIGNAL)
      if (done > 0) {
        sent += done
        at += done
        continue
      }
      const errno = this.#libc.errno()
      // A full buffer stays full for this batch: clients ask again (RFC 1035 §4.2.1).
      if (errno === EAGAIN || errno === ENOBUFS) break
      // Any other errno belongs to the first packet left: an unreachable peer, or a past ICMP.
      if (errno !== EINTR) at++
    }
    return sent
  }
}

/** Hands out parts of one block of memory, each on a cache line, with its address. */
class Carver {
  readonly #memory: ArrayBuffer
  readonly #base: number
  #at = 0

  constructor(memory: ArrayBuffer, base: number) {
    this.#memory = memory
    this.#base = base
  }

  take(length: number): { bytes: Buffer; words: Uint32Array; address: number } {
    const at = this.#at
    this.#at += length
    return {
      bytes: Buffer.from(this.#memory, at, length),
      words: new Uint32Array(this.#memory, at, length / 4),
      address: this.#base + at,
    }
  }
}

function fillHeader(words: Uint32Array, slot: number, peer: number, iovecs: number): void {
  const at = slot * 16
  writePointer(words, at + WORD.name, peer)
  words[at + WORD.nameLength] = PEER_BYTES
  writePointer(words, at + WORD.iov, iovecs + slot * IOVEC_STRIDE)
  words[at + WORD.iovCount] = 1
}

function fillIovec(words: Uint32Array, slot: number, packet: number): void {
  writePointer(words, slot * 4 + WORD.base, packet)
  words[slot * 4 + WORD.baseLength] = PACKET_BYTES
}

/** Low word first: little-endian machines only, which `loadLibc` made sure of. */
function writePointer(words: Uint32Array, at: number, address: number): void {
  words[at] = address % 2 ** 32
  words[at + 1] = Math.floor(address / 2 ** 32)
}
