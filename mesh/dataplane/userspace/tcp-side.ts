/** One of the two sockets of a proxied connection, and what flows from it to the other one. */

import { DATA, DATA_BYTES } from './block.js'
import { EAGAIN, EINTR, calls, errno } from './libc.js'
import { endWriting, setReset } from './socket.js'
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from './reactor.js'
import type { Reactor, Watcher } from './reactor.js'

const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000

/** What one side may move in a turn before the others get theirs. */
const TURN_BYTES = 4 * DATA_BYTES

/** Read and not taken by a slow peer, of all connections of the process; then reads get small. */
const MAX_HELD_BYTES = 64 * 1024 * 1024
const SMALL_READ_BYTES = 16_384
let heldBytes = 0

/** How far a pump came: `later` when its share of the turn is used. */
type Outcome = 'waiting' | 'later' | 'broken'

/**
 * Edge triggered: what a socket is ready for is told once and remembered here until the kernel says
 * EAGAIN, so that a connection costs two calls to epoll in all its life.
 */
export class TcpSide {
  readonly fd: number
  isReadable = false
  isWritable = false
  /** FIN or RST was seen and passed on. */
  isOver = false
  /** FIN, RST or an urgent byte was told of: something may be behind a short read. */
  #hasMore = false
  #isEnded = false
  #held: Buffer | undefined
  readonly #reactor: Reactor

  constructor(reactor: Reactor, fd: number) {
    this.#reactor = reactor
    this.fd = fd
  }

  /** Throws KernelError. */
  watch(watcher: Watcher): void {
    const events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET
    this.#reactor.watch(this.fd, events, watcher)
  }

  note(events: number): void {
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.isReadable = true
    if ((events & EPOLLOUT) !== 0) this.isWritable = true
    if ((events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#hasMore = true
  }

  /** Goes before everything that is read from this side. */
  hold(bytes: Buffer): void {
    heldBytes += bytes.length
    this.#held = bytes
  }

  /**
   * Moves what there is to `peer`, until one of both has enough. `count` is told how much the peer
   * took. `broken`: one of both was reset.
   */
  pump(peer: TcpSide, count: (bytes: number) => void): Outcome {
    if (this.isOver) return 'waiting'
    const { address } = this.#reactor.block
    let share = TURN_BYTES
    for (;;) {
      if (this.#held !== undefined) {
        const outcome = this.#sendHeld(peer, count)
        if (outcome !== undefined) return outcome
      }
      if (this.#isEnded) {
        this.isOver = true
        endWriting(peer.fd)
        return 'waiting'
      }
      if (!this.isReadable || !peer.isWritable) return 'waiting'
      if (share <= 0) return 'later'
      const wanted = heldBytes > MAX_HELD_BYTES ? SMALL_READ_BYTES : DATA_BYTES
      const received = calls.recv(this.fd, address + DATA, wanted, MSG_DONTWAIT)
      if (received === 0) this.#isEnded = true
      if (received < 0) {
        const reason = errno()
        if (reason === EINTR) continue
        this.isReadable = false
        return reason === EAGAIN ? 'waiting' : 'broken'
      }
      // Less than there was room for: nothing is left, and what comes is told anew (epoll(7)).
      if (received < wanted && !this.#hasMore) this.isReadable = false
      share -= received
      if (received > 0 && !this.#send(peer, received, count)) return 'broken'
    }
  }

  /** FIN, or RST, and no more events. */
  close(how: 'end' | 'reset'): void {
    heldBytes -= this.#held?.length ?? 0
    this.#held = undefined
    if (how === 'reset') setReset(this.#reactor.block, this.fd)
    this.#reactor.close(this.fd)
  }

  /** False where `peer` is broken. */
  #send(peer: TcpSide, length: number, count: (bytes: number) => void): boolean {
    const { bytes, address } = this.#reactor.block
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL
    const sent = calls.send(peer.fd, address + DATA, length, flags)
    if (sent < 0 && errno() !== EAGAIN && errno() !== EINTR) return false
    const taken = Math.max(sent, 0)
    count(taken)
    if (taken === length) return true
    peer.isWritable = sent < 0 && errno() === EINTR
    this.hold(Buffer.from(bytes.subarray(DATA + taken, DATA + length)))
    return true
  }

  /** Undefined when nothing is held any more. */
  #sendHeld(peer: TcpSide, count: (bytes: number) => void): Outcome | undefined {
    const held = this.#held
    if (held === undefined) return undefined
    if (!peer.isWritable) return 'waiting'
    held.copy(this.#reactor.block.bytes, DATA)
    this.#held = undefined
    heldBytes -= held.length
    if (!this.#send(peer, held.length, count)) return 'broken'
    return this.#held === undefined ? undefined : 'waiting'
  }
}
