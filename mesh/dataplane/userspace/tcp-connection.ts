/**
 * One client's connection and its way to a destination: tries destinations until one takes it, then
 * passes on bytes, ends and resets in both directions, for as long as both want it.
 */

import { EINPROGRESS, calls, errno } from './libc.js'
import { NAME } from './block.js'
import { composeProxyHeader } from './proxy-protocol.js'
import { EPOLLERR, EPOLLHUP, EPOLLOUT } from './reactor.js'
import { readLocal, setNoDelay, takeError, writeName } from './socket.js'
import { TcpSide } from './tcp-side.js'
import type { Clock, Timer } from '../../../src/base/clock.js'
import type { Reactor } from './reactor.js'
import type { Route, Target } from './route.js'
import type { Client, SocketDoor } from './socket.js'

/** A destination that does not answer a connect in this time is passed over. Default 3 s: one SYN is sent again. */
export const CONNECT_TIMEOUT_MS = 3000

/** Destinations that one connection is offered to, before its client is refused. */
export const MAX_ATTEMPTS = 3

export interface TcpContext {
  readonly reactor: Reactor
  readonly clock: Clock
  readonly sockets: SocketDoor
  /** Those that live, those of closed ports included. */
  readonly connections: Set<TcpConnection>
  /** Default CONNECT_TIMEOUT_MS. */
  readonly connectTimeoutMs?: number | undefined
}

export interface Accepted {
  readonly fd: number
  readonly client: Client
  /** That the client came to. */
  readonly port: number
  readonly route: Route
}

export class TcpConnection {
  readonly #context: TcpContext
  readonly #accepted: Accepted
  readonly #client: TcpSide
  #upstream: TcpSide | undefined
  #target: Target | undefined
  readonly #tried: Target[] = []
  #timer: Timer | undefined
  #isConnected = false
  #isClosed = false

  constructor(context: TcpContext, accepted: Accepted) {
    this.#context = context
    this.#accepted = accepted
    this.#client = new TcpSide(context.reactor, accepted.fd)
  }

  /** Begins. A client whom nobody takes is reset. */
  start(): void {
    this.#context.connections.add(this)
    try {
      this.#client.watch({ onEvents: events => this.#onClient(events) })
    } catch {
      return this.#close('reset')
    }
    this.#connect()
  }

  /** Both ends see RST. */
  reset(): void {
    this.#close('reset')
  }

  #connect(): void {
    while (this.#tried.length < MAX_ATTEMPTS) {
      const target = this.#accepted.route.choose(this.#accepted.client, this.#tried)
      if (target === undefined) break
      this.#tried.push(target)
      if (this.#open(target)) return
      this.#accepted.route.failed(target)
    }
    this.#close('reset')
  }

  /** False where the connect fails at once. */
  #open(target: Target): boolean {
    const { reactor, sockets, clock, connectTimeoutMs } = this.#context
    const family = target.address.length === 4 ? 4 : 6
    let fd
    try {
      fd = sockets.create('tcp', family)
    } catch {
      // Out of descriptors: no destination's fault, and none would do better.
      return false
    }
    setNoDelay(reactor.block, fd)
    const length = writeName(reactor.block, target.address, target.port ?? this.#accepted.port)
    const isBegun = calls.connect(fd, reactor.block.address + NAME, length) === 0
    if (!isBegun && errno() !== EINPROGRESS) {
      calls.close(fd)
      return false
    }
    const upstream = new TcpSide(reactor, fd)
    upstream.watch({ onEvents: events => this.#onUpstream(upstream, events) })
    this.#upstream = upstream
    this.#count(target)
    const delayMs = connectTimeoutMs ?? CONNECT_TIMEOUT_MS
    this.#timer = clock.after(delayMs, () => this.#miss())
    return true
  }

  /** A connection counts from the moment that it is meant for a destination: least-connections needs that. */
  #count(target: Target | undefined): void {
    if (this.#target !== undefined) this.#target.account.active--
    if (target !== undefined) target.account.active++
    this.#target = target
  }

  /** This destination does not take it: the next one. */
  #miss(): void {
    if (this.#isConnected || this.#isClosed) return
    this.#timer?.cancel()
    if (this.#target !== undefined) this.#accepted.route.failed(this.#target)
    this.#count(undefined)
    this.#upstream?.close('reset')
    this.#upstream = undefined
    this.#connect()
  }

  #onClient(events: number): void {
    if (this.#isClosed) return
    this.#client.note(events)
    if (this.#isConnected) return this.#move()
    // It left before anybody took it.
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.#close('reset')
  }

  #onUpstream(upstream: TcpSide, events: number): void {
    if (this.#isClosed || upstream !== this.#upstream) return
    upstream.note(events)
    if (!this.#isConnected) {
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && this.#hasFailed(upstream)) return this.#miss()
      if ((events & EPOLLOUT) === 0) return
      this.#begin()
    }
    this.#move()
  }

  #hasFailed(upstream: TcpSide): boolean {
    return takeError(this.#context.reactor.block, upstream.fd) !== 0
  }

  #begin(): void {
    const { route, client } = this.#accepted
    this.#isConnected = true
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#target === undefined) return
    route.succeeded(this.#target)
    if (!this.#target.hasProxyHeader) return
    const local = readLocal(this.#context.reactor.block, this.#client.fd)
    this.#client.hold(composeProxyHeader('tcp', client, local))
  }

  #move(): void {
    const [client, upstream, account] = [this.#client, this.#upstream, this.#target?.account]
    if (upstream === undefined || account === undefined) return
    const up = client.pump(upstream, bytes => (account.inBytes += bytes))
    if (up === 'broken') return this.#close('reset')
    const down = upstream.pump(client, bytes => (account.outBytes += bytes))
    if (down === 'broken') return this.#close('reset')
    if (client.isOver && upstream.isOver) return this.#close('end')
    if (up === 'later' || down === 'later') this.#context.reactor.later(this.#again)
  }

  readonly #again = (): void => {
    if (!this.#isClosed) this.#move()
  }

  #close(how: 'end' | 'reset'): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#timer?.cancel()
    this.#client.close(how)
    this.#upstream?.close(how)
    this.#count(undefined)
    this.#context.connections.delete(this)
  }
}
