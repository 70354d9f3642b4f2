/**
 * One client over TCP, as RFC 7766 wants it: queries are pipelined, a reply goes out as soon as it
 * is there (a slow upstream does not hold later queries), and nobody makes us hold more memory
 * than the limits here. The sandbox's listener owns the connection.
 */

import { FORWARD } from '../answer.js'
import { FrameReader, composeFrame } from './framing.js'
import { TCP_REPLY_BYTES, forwardQuery } from './listener.js'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../../src/base/clock.js'
import type { Answering, Engine } from './listener.js'

/** Without a query or a reply for so long, the connection is closed (RFC 7766 §6.2.3). */
export const IDLE_MS = 10_000

/** Queries of one connection that wait for an upstream; more are not read until one is back. */
export const MAX_IN_FLIGHT = 64

/** With more than this unsent, nothing is read: the client has to read its replies first. */
export const MAX_UNSENT_BYTES = 64 * 1024

/** Where replies are composed. All connections share it: it is used within one call. */
const scratch = Buffer.allocUnsafeSlow(TCP_REPLY_BYTES)

export interface TcpConnectionOptions {
  readonly socket: Socket
  readonly answering: Answering
  readonly engine: Engine
  readonly clock: Clock
  readonly onQuery: () => void
  readonly onClose: () => void
}

export class TcpConnection {
  readonly #options: TcpConnectionOptions
  readonly #socket: Socket
  readonly #frames = new FrameReader()
  #inFlight = 0
  #hasEnded = false
  #isAnswering = false
  #lastUse: number
  #idleTimer: Timer

  constructor(options: TcpConnectionOptions) {
    this.#options = options
    const { socket, clock } = options
    this.#socket = socket
    this.#lastUse = clock.now()
    this.#idleTimer = clock.after(IDLE_MS, this.#closeIdle)
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('drain', () => this.#answerWaiting())
    socket.on('end', () => {
      this.#hasEnded = true
      this.#answerWaiting()
    })
    // Resets and time-outs of the client's end: 'close' follows and is all we need.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#idleTimer.cancel()
      options.onClose()
    })
  }

  /** True while a query waits for an upstream. */
  get isBusy(): boolean {
    return this.#inFlight > 0
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    this.#frames.push(chunk)
    this.#answerWaiting()
  }

  /** Answers what has arrived while the limits allow, and reads on or stops reading. */
  #answerWaiting(): void {
    const socket = this.#socket
    // A forwarder that replies at once, out of its cache, must not nest the loop below.
    if (socket.destroyed || this.#isAnswering) return
    this.#isAnswering = true
    // One write for the replies to all queries of a segment.
    socket.cork()
    let isHeld = this.#isHeld()
    while (!isHeld) {
      const query = this.#frames.next()
      if (query === undefined) break
      this.#answer(query)
      isHeld = this.#isHeld()
    }
    socket.uncork()
    this.#isAnswering = false
    if (isHeld) socket.pause()
    else if (socket.isPaused()) socket.resume()
    // After the client's FIN ours follows, once the last reply is out.
    if (this.#hasEnded && !isHeld && this.#inFlight === 0) socket.end()
  }

  #isHeld(): boolean {
    return this.#inFlight >= MAX_IN_FLIGHT || this.#socket.writableLength > MAX_UNSENT_BYTES
  }

  #answer(query: Buffer): void {
    const { answering, engine, onQuery } = this.#options
    this.#lastUse = this.#options.clock.now()
    onQuery()
    try {
      const { view, counters } = answering
      const length = engine.responder.respond(view, query, 0, query.length, 'tcp', scratch, 0)
      if (length > 0) {
        counters.answered++
        this.#write(scratch.subarray(0, length))
      } else if (length === FORWARD) {
        this.#forward(Buffer.from(query))
      } else {
        counters.dropped++
      }
    } catch (error) {
      engine.onError(error)
    }
  }

  #forward(query: Buffer): void {
    this.#inFlight++
    forwardQuery(this.#options.engine, this.#options.answering, query, 'tcp', reply => {
      this.#inFlight--
      if (this.#socket.destroyed) return
      this.#write(reply)
      this.#answerWaiting()
    })
  }

  #write(reply: Buffer): void {
    this.#lastUse = this.#options.clock.now()
    this.#socket.write(composeFrame(reply))
  }

  readonly #closeIdle = (): void => {
    const idleMs = this.#options.clock.now() - this.#lastUse
    const restMs = this.isBusy ? IDLE_MS : IDLE_MS - idleMs
    if (restMs <= 0) this.destroy()
    else this.#idleTimer = this.#options.clock.after(restMs, this.#closeIdle)
  }
}
