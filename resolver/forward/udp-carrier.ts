/**
 * UDP to one upstream: a few connected sockets, replaced now and then, so that source ports stay
 * hard to guess and no query pays for a socket. Connected, because the kernel then drops other
 * senders and reports a closed port at once. Knows ids and questions, not what a reply says.
 */

import { errorMessage } from '../../src/base/error.js'
import { matchReply } from './upstream-query.js'
import type { Socket } from 'node:dgram'
import type { Attempt, Carrier } from './attempt.js'
import type { SocketSpace } from './policy.js'
import type { RandomSource } from './random.js'

/** Sockets in use at a time: each query takes one at random. */
const POOL_SOCKETS = 4
/** A socket, and so its port, is replaced after this many queries or this long. */
const MAX_QUERIES_A_SOCKET = 2000
const MAX_SOCKET_AGE_MS = 30_000
/** A socket nobody used for this long is closed: sockets in a sandbox keep its namespace alive. */
const IDLE_MS = 10_000
/** Some 1,300 replies (a small packet costs the kernel 768 bytes). */
const RECEIVE_BUFFER_BYTES = 1024 * 1024

export interface UdpCarrierOptions {
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly space: SocketSpace
  readonly random: RandomSource
  readonly now: () => number
  /** Counts packets that answer nothing we asked. */
  readonly onForged: () => void
}

export class UdpCarrier implements Carrier {
  readonly #options: UdpCarrierOptions
  readonly #pool: (UdpSocket | undefined)[] = new Array<undefined>(POOL_SOCKETS).fill(undefined)
  readonly #retired = new Set<UdpSocket>()

  constructor(options: UdpCarrierOptions) {
    this.#options = options
  }

  send(attempt: Attempt): void {
    const slot = this.#options.random() % POOL_SOCKETS
    let socket = this.#pool[slot]
    if (socket === undefined || socket.isWornOut(this.#options.now())) {
      if (socket !== undefined) this.#retire(socket)
      try {
        socket = new UdpSocket(this.#options)
      } catch (error) {
        this.#pool[slot] = undefined
        attempt.onError(errorMessage(error))
        return
      }
      this.#pool[slot] = socket
    }
    socket.send(attempt)
  }

  release(): void {
    // The socket that took the attempt is its carrier, and releases it.
  }

  sweep(now: number): boolean {
    let isOpen = false
    for (const [slot, socket] of this.#pool.entries()) {
      if (socket === undefined) continue
      if (socket.isIdle(now)) {
        this.#pool[slot] = undefined
        socket.close()
      } else isOpen = true
    }
    for (const socket of this.#retired) {
      if (socket.isQuiet) {
        this.#retired.delete(socket)
        socket.close()
      } else isOpen = true
    }
    return isOpen
  }

  close(): void {
    for (const socket of [...this.#pool, ...this.#retired]) socket?.close()
    this.#pool.fill(undefined)
    this.#retired.clear()
  }

  /** A socket that is replaced goes on receiving what it has asked for. */
  #retire(socket: UdpSocket): void {
    if (socket.isQuiet) socket.close()
    else this.#retired.add(socket)
  }
}

/** One connected socket and the ids that are in use on it. */
class UdpSocket implements Carrier {
  readonly #options: UdpCarrierOptions
  readonly #socket: Socket
  readonly #waiting = new Map<number, Attempt>()
  readonly #openedAt: number
  #usedAt: number
  #queries = 0
  #isConnected = false
  #isBroken = false
  #isClosed = false

  constructor(options: UdpCarrierOptions) {
    this.#options = options
    this.#openedAt = this.#usedAt = options.now()
    this.#socket = options.space.udp(options.family)
    this.#socket.on('error', error => this.#onError(error))
    this.#socket.on('message', message => this.#receive(message))
    this.#socket.once('connect', () => this.#onConnect())
    this.#socket.connect(options.port, options.address)
    this.#socket.unref()
  }

  get isQuiet(): boolean {
    return this.#waiting.size === 0
  }

  isWornOut(now: number): boolean {
    if (this.#isBroken) return true
    return this.#queries >= MAX_QUERIES_A_SOCKET || now - this.#openedAt > MAX_SOCKET_AGE_MS
  }

  isIdle(now: number): boolean {
    return this.isQuiet && now - this.#usedAt > IDLE_MS
  }

  send(attempt: Attempt): void {
    const id = this.#freeId()
    attempt.packet[0] = id >> 8
    attempt.packet[1] = id & 0xff
    attempt.carrier = this
    this.#waiting.set(id, attempt)
    this.#queries++
    this.#usedAt = this.#options.now()
    if (this.#isConnected) this.#socket.send(attempt.packet, this.#onSent)
  }

  release(attempt: Attempt): void {
    const id = attempt.packet.readUInt16BE(0)
    if (this.#waiting.get(id) === attempt) this.#waiting.delete(id)
  }

  sweep(): boolean {
    return !this.#isClosed
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#failAll('closed')
    this.#socket.close()
  }

  /** A new socket is connected one turn later; what was sent until then goes out now. */
  #onConnect(): void {
    if (this.#isClosed) return
    this.#isConnected = true
    try {
      this.#socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES)
    } catch {
      // The kernel's default serves too.
    }
    for (const attempt of this.#waiting.values()) this.#socket.send(attempt.packet, this.#onSent)
  }

  /** A socket that could not be connected never will be; the next query gets another. */
  #onError(error: Error): void {
    this.#isBroken ||= !this.#isConnected
    this.#failAll(error.message)
  }

  readonly #onSent = (error: Error | null): void => {
    if (error !== null) this.#failAll(error.message)
  }

  #receive(message: Buffer): void {
    if (message.length < 12) return this.#options.onForged()
    const attempt = this.#waiting.get(message.readUInt16BE(0))
    if (attempt === undefined) return
    const match = matchReply(attempt.packet, attempt.questionEnd, message)
    if (match === 'other') this.#options.onForged()
    else attempt.onReply(message, match)
  }

  /** An error of a connected socket is one of the upstream's port: it holds for all of them. */
  #failAll(reason: string): void {
    const attempts = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const attempt of attempts) attempt.onError(reason)
  }

  /** Random among the ids not in use here; the caps keep most of them free. */
  #freeId(): number {
    let id = this.#options.random() & 0xffff
    while (this.#waiting.has(id)) id = (id + 1) & 0xffff
    return id
  }
}
