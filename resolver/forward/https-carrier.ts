/**
 * DNS over HTTPS to one upstream (RFC 8484): POST of the message with id 0, over undici's pool. The
 * connection goes to the upstream's address, so that its name needs no resolver.
 */

import { connect as connectTls } from 'node:tls'
import { errorMessage } from '../../src/base/error.js'
import { matchReply } from './upstream-query.js'
import type { Pool, buildConnector } from 'undici'
import type { Attempt, Carrier } from './attempt.js'
import type { SocketSpace } from './policy.js'

const MEDIA_TYPE = 'application/dns-message'
/** What a DNS message can be at most (RFC 8484 §6). */
const MAX_REPLY_BYTES = 65_535
const CONNECTIONS = 2
const IDLE_MS = 10_000

export interface HttpsCarrierOptions {
  readonly url: string
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly space: SocketSpace
  readonly now: () => number
}

export class HttpsCarrier implements Carrier {
  readonly #options: HttpsCarrierOptions
  readonly #url: URL
  readonly #waiting = new Map<Attempt, AbortController>()
  #pool: Pool | undefined
  #usedAt = 0
  #isClosed = false

  constructor(options: HttpsCarrierOptions) {
    this.#options = options
    this.#url = new URL(options.url)
  }

  send(attempt: Attempt): void {
    // RFC 8484 §4.1: id 0, so that HTTP caches see equal questions as equal.
    attempt.packet.writeUInt16BE(0, 0)
    attempt.carrier = this
    const abort = new AbortController()
    this.#waiting.set(attempt, abort)
    this.#usedAt = this.#options.now()
    this.#post(attempt.packet, abort.signal).then(
      reply => this.#receive(attempt, reply),
      (error: unknown) => this.#fail(attempt, errorMessage(error)),
    )
  }

  release(attempt: Attempt): void {
    const abort = this.#waiting.get(attempt)
    if (this.#waiting.delete(attempt)) abort?.abort()
  }

  sweep(now: number): boolean {
    if (this.#pool === undefined) return false
    if (this.#waiting.size > 0 || now - this.#usedAt <= IDLE_MS) return true
    this.#drop()
    return false
  }

  close(): void {
    this.#isClosed = true
    for (const attempt of [...this.#waiting.keys()]) this.#fail(attempt, 'closed')
    this.#drop()
  }

  async #post(packet: Buffer, signal: AbortSignal): Promise<Buffer> {
    const pool = await this.#openPool()
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: this.#url.pathname + this.#url.search,
      headers: { 'content-type': MEDIA_TYPE, accept: MEDIA_TYPE },
      body: packet,
      signal,
    })
    if (statusCode !== 200) {
      await body.dump()
      throw new Error(`HTTP status ${statusCode}`)
    }
    const reply = Buffer.from(await body.arrayBuffer())
    if (reply.length > MAX_REPLY_BYTES) throw new Error(`a reply of ${reply.length} bytes`)
    return reply
  }

  async #openPool(): Promise<Pool> {
    // Loaded when first needed: undici takes longer to load than the rest of the forwarder.
    const undici = await import('undici')
    if (this.#isClosed) throw new Error('closed')
    this.#pool ??= new undici.Pool(this.#url.origin, {
      connections: CONNECTIONS,
      connect: (options, callback) => this.#connect(options, callback),
    })
    return this.#pool
  }

  #receive(attempt: Attempt, reply: Buffer): void {
    if (!this.#waiting.has(attempt)) return
    if (reply.length >= 2) reply.writeUInt16BE(0, 0)
    const match = matchReply(attempt.packet, attempt.questionEnd, reply)
    if (match === 'other') return this.#fail(attempt, 'not a reply to the question')
    attempt.onReply(reply, match)
  }

  #fail(attempt: Attempt, reason: string): void {
    if (this.#waiting.delete(attempt)) attempt.onError(reason)
  }

  #drop(): void {
    const pool = this.#pool
    this.#pool = undefined
    void pool?.destroy()
  }

  #connect(options: buildConnector.Options, callback: buildConnector.Callback): void {
    const { address, port, family, space } = this.#options
    try {
      const raw = space.tcp(family)
      raw.setNoDelay(true)
      const isTls = this.#url.protocol === 'https:'
      const servername = options.servername ?? this.#url.hostname
      const onReady = (): void => callback(null, socket)
      raw.connect({ host: address, port, family })
      const socket = isTls
        ? connectTls({ socket: raw, servername, ALPNProtocols: ['http/1.1'] }, onReady)
        : raw.once('connect', onReady)
      socket.once('error', error => callback(error, null))
      socket.unref()
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)), null)
    }
  }
}
