/**
 * TCP to one upstream (RFC 7766): one connection, opened when first needed, shared by the queries
 * in flight, closed when idle. Replies may come in any order.
 */

import { errorMessage } from '../../src/base/error.js'
import { FrameReader, composeFrame } from '../listen/framing.js'
import { matchReply } from './upstream-query.js'
import type { Socket } from 'node:net'
import type { Attempt, Carrier } from './attempt.js'
import type { SocketSpace } from './policy.js'
import type { RandomSource } from './random.js'

/** Below what common servers allow (unbound 30 s, BIND 30 s, dnsmasq none). */
const IDLE_MS = 5000

export interface TcpCarrierOptions {
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly space: SocketSpace
  readonly random: RandomSource
  readonly now: () => number
}

export class TcpCarrier implements Carrier {
  readonly #options: TcpCarrierOptions
  readonly #waiting = new Map<number, Attempt>()
  #socket: Socket | undefined
  #reader = new FrameReader()
  #usedAt = 0
  /** Replies over the present connection. */
  #replies = 0

  constructor(options: TcpCarrierOptions) {
    this.#options = options
  }

  send(attempt: Attempt): void {
    let id = this.#options.random() & 0xffff
    while (this.#waiting.has(id)) id = (id + 1) & 0xffff
    attempt.packet.writeUInt16BE(id, 0)
    attempt.carrier = this
    this.#waiting.set(id, attempt)
    this.#usedAt = this.#options.now()
    this.#write(attempt)
  }

  release(attempt: Attempt): void {
    const id = attempt.packet.readUInt16BE(0)
    if (this.#waiting.get(id) === attempt) this.#waiting.delete(id)
  }

  sweep(now: number): boolean {
    if (this.#socket === undefined) return false
    if (this.#waiting.size > 0 || now - this.#usedAt <= IDLE_MS) return true
    this.#drop()
    return false
  }

  close(): void {
    this.#drop()
    this.#failAll('closed')
  }

  #write(attempt: Attempt): void {
    try {
      this.#socket ??= this.#connect()
      // Written before the connection stands, it waits in the socket.
      this.#socket.write(composeFrame(attempt.packet))
    } catch (error) {
      this.#drop()
      this.#failAll(errorMessage(error))
    }
  }

  #connect(): Socket {
    const { address, port, family, space } = this.#options
    const socket = space.tcp(family)
    let reason = 'closed by the upstream'
    socket.on('error', error => (reason = error.message))
    socket.on('data', chunk => {
      if (this.#socket === socket) this.#receive(chunk)
    })
    socket.on('close', () => {
      if (this.#socket === socket) this.#onClose(reason)
    })
    socket.setNoDelay(true)
    socket.connect({ host: address, port, family })
    socket.unref()
    this.#reader = new FrameReader()
    this.#replies = 0
    return socket
  }

  #receive(chunk: Buffer): void {
    this.#reader.push(chunk)
    for (let reply = this.#reader.next(); reply !== undefined; reply = this.#reader.next()) {
      const attempt = this.#waiting.get(reply.readUInt16BE(0))
      if (attempt === undefined) continue
      const match = matchReply(attempt.packet, attempt.questionEnd, reply)
      if (match === 'other') continue
      this.#replies++
      attempt.onReply(Buffer.from(reply), match)
    }
  }

  /** A server may close between two queries; only a connection that gave nothing is a failure. */
  #onClose(reason: string): void {
    this.#socket = undefined
    if (this.#replies === 0) return this.#failAll(reason)
    for (const attempt of [...this.#waiting.values()]) this.#write(attempt)
  }

  #drop(): void {
    const socket = this.#socket
    this.#socket = undefined
    socket?.destroy()
  }

  #failAll(reason: string): void {
    const attempts = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const attempt of attempts) attempt.onError(reason)
  }
}
