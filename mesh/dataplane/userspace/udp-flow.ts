/** What one client says to one destination over UDP, and the answers: a socket of its own. */

import { DATA, NAME } from './block.js'
import { sendBack } from './datagram.js'
import { EAGAIN, EINTR, calls, errno } from './libc.js'
import { EPOLLIN } from './reactor.js'
import { writeName } from './socket.js'
import type { ReplyWay } from './datagram.js'
import type { Reactor } from './reactor.js'
import type { Target } from './route.js'

const MSG_DONTWAIT = 0x40

/** Answers that are passed on before others get their turn. */
const ANSWERS_A_TURN = 64

export interface FlowOptions {
  readonly reactor: Reactor
  /** The proxy's, that answers go out of. */
  readonly listenerFd: () => number
  /** Unconnected; the flow owns it. */
  readonly fd: number
  readonly target: Target
  readonly port: number
  readonly way: ReplyWay
  /** Goes before each datagram: any of them may be the first to arrive. */
  readonly header: Buffer | undefined
  readonly now: () => number
  readonly onReply: (flow: UdpFlow) => void
  /** The destination's kernel says that nobody listens. */
  readonly onRefused: (flow: UdpFlow) => void
}

export class UdpFlow {
  readonly target: Target
  readonly key: string
  lastSeen: number
  isReplied = false
  readonly #options: FlowOptions
  #isClosed = false

  /** Throws KernelError. Not connected where the destination cannot be reached: see `isConnected`. */
  constructor(options: FlowOptions) {
    const { reactor, fd, target, port, way, now } = options
    this.#options = options
    this.target = target
    this.key = way.key
    this.lastSeen = now()
    target.account.active++
    reactor.watch(fd, EPOLLIN, { onEvents: () => this.#onReadable() })
    const length = writeName(reactor.block, target.address, target.port ?? port)
    calls.connect(fd, reactor.block.address + NAME, length)
  }

  /** Sends the first `length` bytes of the block's DATA to the destination. */
  send(length: number): void {
    const { reactor, fd, header, now } = this.#options
    const { bytes, address } = reactor.block
    let size = length
    if (header !== undefined) {
      bytes.copyWithin(DATA + header.length, DATA, DATA + length)
      header.copy(bytes, DATA)
      size += header.length
    }
    this.lastSeen = now()
    let sent = calls.send(fd, address + DATA, size, MSG_DONTWAIT)
    // An error that waits is told once instead of sending; what cannot be sent is lost, as UDP is.
    if (sent < 0 && errno() !== EAGAIN) sent = calls.send(fd, address + DATA, size, MSG_DONTWAIT)
    if (sent >= 0) this.target.account.inBytes += length
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.target.account.active--
    this.#options.reactor.close(this.#options.fd)
  }

  #onReadable(): void {
    const { reactor, fd, listenerFd, way, now, onReply, onRefused } = this.#options
    for (let i = 0; i < ANSWERS_A_TURN && !this.#isClosed; i++) {
      const length = calls.recv(fd, reactor.block.address + DATA, 65_536, MSG_DONTWAIT)
      if (length < 0) {
        const reason = errno()
        if (reason === EINTR) continue
        if (reason !== EAGAIN) onRefused(this)
        return
      }
      this.lastSeen = now()
      if (!this.isReplied) {
        this.isReplied = true
        onReply(this)
      }
      if (sendBack(reactor.block, listenerFd(), way, length) >= 0) {
        this.target.account.outBytes += length
      }
    }
  }
}
