/** Memory that the kernel reads and writes: it does not move, and is reused for every call. */

import { addressOf } from './libc.js'

/** One for a reactor. Nothing in it outlives the call that it was filled for. */
export class Block {
  readonly bytes: Buffer
  /** Of the first byte. */
  readonly address: number

  constructor(size: number) {
    // An ArrayBuffer of its own: small Buffers share a pool.
    this.bytes = Buffer.from(new ArrayBuffer(size))
    this.address = addressOf(this.bytes)
  }
}

/** Received bytes on their way: larger takes fewer calls and falls out of the processor's cache. */
export const DATA_BYTES = 262_144

/** Offsets of one reactor's block. */
export const DATA = 0
/** struct sockaddr_storage. */
export const NAME = DATA + DATA_BYTES
/** socklen_t and values of options. */
export const LENGTH = NAME + 128
export const VALUE = LENGTH + 8
/** struct epoll_event to register. */
export const EVENT = VALUE + 16
/** struct msghdr, struct iovec, control messages. */
export const MESSAGE = EVENT + 16
export const VECTOR = MESSAGE + 64
export const CONTROL = VECTOR + 16
/** struct epoll_event[EVENT_COUNT]. */
export const EVENTS = CONTROL + 128
export const EVENT_COUNT = 256
export const BLOCK_BYTES = EVENTS + EVENT_COUNT * 16
