/**
 * A TCP port: takes connections while its route has somewhere to go, and lets the kernel refuse them
 * while it has not. Usable alone, with a route of the caller's.
 */

import { ENFILE, EMFILE, errno } from './libc.js'
import { EPOLLIN } from './reactor.js'
import {
  accept,
  isBoundAs,
  readClient,
  setNoDelay,
  sharePort,
  startListening,
  stopListening,
} from './socket.js'
import { TcpConnection } from './tcp-connection.js'
import type { Timer } from '../../../src/base/clock.js'
import type { Route } from './route.js'
import type { Endpoint } from './socket.js'
import type { TcpContext } from './tcp-connection.js'

/** Connections that wait to be accepted; the kernel takes the lesser of this and somaxconn. */
const BACKLOG = 4096

/** Accepted at once, before those that are there get their turn. */
const ACCEPTS_A_TURN = 64

/** Out of descriptors: until some are closed, whoever comes waits in the backlog. */
const PAUSE_MS = 50

export class TcpProxy {
  readonly endpoint: Endpoint
  readonly #context: TcpContext
  #route: Route
  #fd: number
  #isTaking = false
  #pause: Timer | undefined

  /** Binds; takes nothing yet. Throws KernelError `EADDRINUSE`, `EACCES`, ... */
  constructor(context: TcpContext, endpoint: Endpoint, route: Route, isShared = false) {
    this.endpoint = endpoint
    this.#context = context
    this.#route = route
    this.#fd = context.sockets.bind('tcp', endpoint, isShared)
    // Accepted sockets have it from this one.
    setNoDelay(context.reactor.block, this.#fd)
    try {
      // Whoever else is bound here without listening is found out now, and the port is ours from now on.
      startListening(context.reactor.block, this.#fd, BACKLOG)
      stopListening(context.reactor.block, this.#fd)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** True: connections are taken. False: the kernel answers them with RST. */
  setTaking(isTaking: boolean): void {
    if (isTaking === this.#isTaking || this.#fd < 0) return
    const { reactor } = this.#context
    if (isTaking) {
      startListening(reactor.block, this.#fd, BACKLOG)
      reactor.watch(this.#fd, EPOLLIN, { onEvents: this.#acceptAll })
    } else {
      this.#pause?.cancel()
      reactor.forget(this.#fd)
      stopListening(reactor.block, this.#fd)
    }
    this.#isTaking = isTaking
  }

  /** For connections from now on. */
  setRoute(route: Route): void {
    this.#route = route
  }

  /** What the kernel has: false where somebody closed the socket or it does not do as it was told. */
  get isAsTold(): boolean {
    return isBoundAs(this.#context.reactor.block, this.#fd, this.endpoint.port, this.#isTaking)
  }

  /** From now on the port may be ours on another address too. */
  share(): void {
    if (this.#fd >= 0) sharePort(this.#context.reactor.block, this.#fd, true)
  }

  get isTaking(): boolean {
    return this.#isTaking
  }

  /** Gives the port back. Living connections go on. */
  close(): void {
    if (this.#fd < 0) return
    this.#pause?.cancel()
    this.#context.reactor.close(this.#fd)
    this.#fd = -1
  }

  readonly #acceptAll = (): void => {
    const { reactor } = this.#context
    for (let i = 0; i < ACCEPTS_A_TURN && this.#fd >= 0; i++) {
      const fd = accept(reactor.block, this.#fd)
      if (fd < 0) return this.#onRefusedAccept(errno())
      const client = readClient(reactor.block)
      const accepted = { fd, client, port: this.endpoint.port, route: this.#route }
      new TcpConnection(this.#context, accepted).start()
    }
  }

  /** Level triggered, the socket would call again at once and take the whole processor. */
  #onRefusedAccept(reason: number): void {
    if (reason !== EMFILE && reason !== ENFILE) return
    const { reactor, clock } = this.#context
    reactor.forget(this.#fd)
    this.#pause = clock.after(PAUSE_MS, () => {
      if (this.#isTaking && this.#fd >= 0) {
        reactor.watch(this.#fd, EPOLLIN, { onEvents: this.#acceptAll })
      }
    })
  }
}
