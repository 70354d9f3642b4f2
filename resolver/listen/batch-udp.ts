/**
 * The UDP listener for Linux: `recvmmsg` and `sendmmsg` of up to 64 packets a call, over one block
 * of memory that all listeners of the process share. Queries are answered out of the block that
 * the kernel filled into the block that it sends from; nothing is allocated for a local answer.
 * What a query means is the responder's affair.
 */

import { HEADER_BYTES } from '../accept.js'
import { FORWARD } from '../answer.js'
import { forwardQuery } from './listener.js'
import { MSG_DONTWAIT, MSG_NOSIGNAL } from './libc.js'
import { socketAddress } from './socket.js'
import { MessageBlock } from './message-block.js'
import type { Answering, Engine, Listener } from './listener.js'
import type { Libc } from './libc.js'
import type { Poller } from './poller.js'

/**
 * Full batches read from one socket before the event loop gets its turn: 256 packets are some
 * 2 ms of work. What is left is told again by the poller, after the other sockets.
 */
const ROUNDS_A_TURN = 4

export interface BatchUdpOptions {
  /** A bound UDP socket, IPv4 or IPv6. The listener owns it and closes it. */
  readonly fd: number
  readonly answering: Answering
  readonly engine: Engine
  readonly poller: Poller
  readonly libc: Libc
}

/** Starts to answer on a bound UDP socket. Throws PollerError where it cannot be watched. */
export function openBatchUdp(options: BatchUdpOptions): Listener {
  const listener = new BatchUdp(options)
  options.poller.add(options.fd, () => listener.receive())
  return listener
}

class BatchUdp implements Listener {
  readonly address: string
  readonly port: number
  readonly #fd: number
  readonly #answering: Answering
  readonly #engine: Engine
  readonly #poller: Poller
  readonly #libc: Libc
  readonly #block: MessageBlock
  #isClosed = false

  constructor(options: BatchUdpOptions) {
    const bound = socketAddress(options.libc, options.fd)
    this.address = bound.address
    this.port = bound.port
    this.#fd = options.fd
    this.#answering = options.answering
    this.#engine = options.engine
    this.#poller = options.poller
    this.#libc = options.libc
    this.#block = MessageBlock.shared(options.libc)
  }

  close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true
      // In this order: epoll must let go of a descriptor before its number can be used again.
      this.#poller.remove(this.#fd)
      this.#libc.close(this.#fd)
    }
    return Promise.resolve()
  }

  receive(): void {
    for (let round = 0; round < ROUNDS_A_TURN; round++) {
      const count = this.#block.receive(this.#fd)
      if (count <= 0) return
      this.#answerBatch(count)
      // Less than a full batch was all there was; asking again would only bring EAGAIN.
      if (count < this.#block.slots || this.#isClosed) return
    }
  }

  #answerBatch(count: number): void {
    const block = this.#block
    const { counters } = this.#answering
    let replies = 0
    let forwarded = 0
    for (let slot = 0; slot < count; slot++) {
      // Port 0 cannot be answered, and shorter packets have no header (RFC 1035 §4.1.1).
      if (block.lengthOf(slot) < HEADER_BYTES || block.portOf(slot) === 0) continue
      try {
        const written = this.#respond(slot, replies)
        if (written > 0) block.stage(replies++, slot, written)
        else if (written === FORWARD) {
          forwarded++
          this.#forward(slot)
        }
      } catch (error) {
        this.#engine.onError(error)
      }
    }
    // Closed by what a reply led to: the descriptor's number may be another socket's by now.
    const sent = replies === 0 || this.#isClosed ? 0 : block.send(this.#fd, replies)
    counters.answered += sent
    counters.dropped += count - sent - forwarded
  }

  /** Composes the reply to `slot` at `place` of what goes out; its length, DROP or FORWARD. */
  #respond(slot: number, place: number): number {
    const { received, outgoing } = this.#block
    const start = this.#block.offset(slot)
    const end = start + this.#block.lengthOf(slot)
    const out = this.#block.offset(place)
    const { view } = this.#answering
    return this.#engine.responder.respond(view, received, start, end, 'udp', outgoing, out)
  }

  #forward(slot: number): void {
    const peer = this.#block.copyPeer(slot)
    const query = this.#block.copyPacket(slot)
    forwardQuery(this.#engine, this.#answering, query, 'udp', reply => {
      if (this.#isClosed) return
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL
      // A reply that cannot be sent is lost as on any network; the client asks again.
      this.#libc.sendto(this.#fd, reply, reply.length, flags, peer, peer.length)
    })
  }
}
