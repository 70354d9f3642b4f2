/** One of the two sockets of a proxied connection, and what flows from it to the other one. */

import { DATA, DATA_BYTES } from './block.js'
import { EAGAIN, EINTR, calls, errno } from './libc.js'
import { endWriting, setReset } from './socket.js'
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from './reactor.js'
import { SplicePipe } from './splice-pipe.js'
import type { Reactor, Watcher } from './reactor.js'

const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000

/** What one side may move in a turn before the others get theirs. */
const TURN_BYTES = 4 * DATA_BYTES

/** Short connections do without a pipe. */
const SPLICE_AFTER_BYTES = 262_144

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
  #isEnded = false
  #held: Buffer | undefined
  #pipe: SplicePipe | undefined
  #received = 0
  readonly #reactor: Reactor

  constructor(reactor: Reactor, fd: number) {
    this.#reactor = reactor
    this.fd = fd
  }

  /** Throws KernelError. */
  watch(watcher: Watcher): void {
    const events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    this.#reactor.watch(this.fd, events, watcher)
  }

  note(events: number): void {
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.isReadable = true
    if ((events & EPOLLOUT) !== 0) this.isWritable = true
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
    const outcome = this.#pump(peer, count)
    if (this.#pipe?.length === 0) this.#dropPipe()
    return outcome
  }

  #pump(peer: TcpSide, count: (bytes: number) => void): Outcome {
    let share = TURN_BYTES
    for (;;) {
      const outcome = this.#flush(peer, count)
      if (outcome !== undefined) return outcome
      if (this.#isEnded) {
        this.isOver = true
        endWriting(peer.fd)
        return 'waiting'
      }
      if (!this.isReadable || !peer.isWritable) return 'waiting'
      if (share <= 0) return 'later'
      const received = this.#receive()
      if (received === 0) this.#isEnded = true
      if (received < 0) {
        const reason = errno()
        if (reason === EINTR) continue
        this.isReadable = false
        return reason === EAGAIN ? 'waiting' : 'broken'
      }
      share -= received
      this.#received += received
      const isPiped = this.#pipe !== undefined
      if (received > 0 && !isPiped && !this.#send(peer, received, count)) return 'broken'
    }
  }

  /** Into the block's DATA, or into a pipe once there has been enough to be worth one. */
  #receive(): number {
    const { block } = this.#reactor
    if (this.#received >= SPLICE_AFTER_BYTES) this.#pipe ??= SplicePipe.take(block)
    if (this.#pipe !== undefined) return this.#pipe.fill(this.fd)
    const wanted = heldBytes > MAX_HELD_BYTES ? SMALL_READ_BYTES : DATA_BYTES
    return calls.recv(this.fd, block.address + DATA, wanted, MSG_DONTWAIT)
  }

  /** Undefined when nothing is held any more. */
  #flush(peer: TcpSide, count: (bytes: number) => void): Outcome | undefined {
    if (this.#held !== undefined) return this.#sendHeld(peer, count)
    while (this.#pipe !== undefined && this.#pipe.length > 0) {
      if (!peer.isWritable) return 'waiting'
      const sent = this.#pipe.drain(peer.fd)
      if (sent > 0) count(sent)
      else if (sent < 0 && errno() === EAGAIN) peer.isWritable = false
      else if (sent < 0 && errno() !== EINTR) return 'broken'
    }
    return undefined
  }

  #dropPipe(): void {
    this.#pipe?.giveBack()
    this.#pipe = undefined
  }

  /** FIN, or RST, and no more events. */
  close(how: 'end' | 'reset'): void {
    heldBytes -= this.#held?.length ?? 0
    this.#held = undefined
    this.#dropPipe()
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
