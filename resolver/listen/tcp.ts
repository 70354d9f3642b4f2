/**
 * The TCP listener: accepts connections, bounds how many a sandbox may hold, and closes the
 * longest idle one when a new one needs its place. What happens on one connection is in
 * `tcp-connection.ts`.
 */

import { createServer } from 'node:net'
import { errorCode } from '../../src/base/error.js'
import { listenError } from './listener.js'
import { TcpConnection } from './tcp-connection.js'
import type { Server, Socket } from 'node:net'
import type { Clock } from '../../src/base/clock.js'
import type { Answering, Engine, Listener } from './listener.js'

/** Connections of one sandbox. Default 256: one sandbox cannot take the process's descriptors. */
export const MAX_CONNECTIONS = 256

/** Connections that wait to be accepted; what moby's resolver has. */
const BACKLOG = 4096

/** Where to listen: a listening descriptor, which the listener owns and closes, or an address. */
export type TcpTarget =
  { readonly fd: number } | { readonly address: string; readonly port: number }

export interface TcpOptions {
  readonly target: TcpTarget
  readonly answering: Answering
  readonly engine: Engine
  readonly clock: Clock
  /** Default MAX_CONNECTIONS. */
  readonly maxConnections?: number | undefined
}

/** Starts to accept. Rejects with ListenError where the socket cannot be bound. */
export async function openTcp(options: TcpOptions): Promise<Listener> {
  // Half open, so that a client that says FIN after its query still gets the reply.
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  await listen(server, options.target)
  return new TcpListener(server, options)
}

class TcpListener implements Listener {
  readonly address: string
  readonly port: number
  readonly #server: Server
  readonly #options: TcpOptions
  /** Longest idle first: a connection that gets a query moves to the end. */
  readonly #connections = new Set<TcpConnection>()
  readonly #maxConnections: number
  #closing: Promise<void> | undefined

  constructor(server: Server, options: TcpOptions) {
    const bound = server.address()
    this.address = bound !== null && typeof bound === 'object' ? bound.address : ''
    this.port = bound !== null && typeof bound === 'object' ? bound.port : 0
    this.#server = server
    this.#options = options
    this.#maxConnections = options.maxConnections ?? MAX_CONNECTIONS
    server.on('error', options.engine.onError)
    server.on('connection', socket => this.#accept(socket))
  }

  close(): Promise<void> {
    this.#closing ??= new Promise(resolve => {
      this.#server.close(() => resolve())
      for (const connection of [...this.#connections]) connection.destroy()
    })
    return this.#closing
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= this.#maxConnections && !this.#closeLongestIdle()) {
      socket.on('error', ignore)
      socket.destroy()
      return
    }
    const connection = new TcpConnection({
      socket,
      answering: this.#options.answering,
      engine: this.#options.engine,
      clock: this.#options.clock,
      onQuery: () => {
        this.#connections.delete(connection)
        this.#connections.add(connection)
      },
      onClose: () => this.#connections.delete(connection),
    })
    this.#connections.add(connection)
  }

  /** False where every connection waits for an upstream. */
  #closeLongestIdle(): boolean {
    for (const connection of this.#connections) {
      if (connection.isBusy) continue
      this.#connections.delete(connection)
      connection.destroy()
      return true
    }
    return false
  }
}

function ignore(): void {}

async function listen(server: Server, target: TcpTarget): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => {
      const place = 'fd' in target ? { address: `descriptor ${target.fd}`, port: 0 } : target
      reject(listenError(errorCode(error) ?? error.message, 'tcp', place.address, place.port))
    }
    server.once('error', fail)
    const onListening = (): void => {
      server.off('error', fail)
      resolve()
    }
    if ('fd' in target) server.listen({ fd: target.fd, backlog: BACKLOG }, onListening)
    else {
      const { address: host, port } = target
      server.listen({ host, port, backlog: BACKLOG, ipv6Only: true, exclusive: true }, onListening)
    }
  })
}
