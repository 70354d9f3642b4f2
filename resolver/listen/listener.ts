/**
 * What a listener is, and the part that all of them share: what one query does to the counters and
 * how a query that is not ours goes to the forwarder. Sockets are in the files beside.
 */

import { CodedError } from '../../src/base/error.js'
import { clientLimit } from '../fit.js'
import { MIN_UDP_BYTES, parseQuery } from '../message.js'
import type { ForwardPolicy } from '../forward/policy.js'
import type { View } from '../view.js'

export class ListenError extends CodedError<
  'LISTEN_ADDRESS_IN_USE' | 'LISTEN_NOT_PERMITTED' | 'LISTEN_NO_SUCH_ADDRESS' | 'LISTEN_FAILED'
> {}

export type Transport = 'udp' | 'tcp'

/** Replies over UDP, unless a listener is told less. RFC 6891 §6.2.5 suggests 4096. */
export const UDP_REPLY_BYTES = 4096

/** Replies over TCP: what the two-byte length can say (RFC 1035 §4.2.2). */
export const TCP_REPLY_BYTES = 65535

/** Queries of one sandbox since it was added. Every query that arrives counts in one of them. */
export interface QueryCounters {
  /** Answered here, refusals and format errors included. */
  answered: number
  /** Handed to the forwarder, whatever came of it. */
  forwarded: number
  /** Got no reply: not a query, no way back, or the send buffer was full. */
  dropped: number
}

/** What the listeners of one sandbox answer from. The resolver swaps `view` whole. */
export interface Answering {
  view: View
  readonly counters: QueryCounters
}

/** Decides and composes the reply to one packet; the class Responder is one. */
export interface Respond {
  respond(
    view: View,
    query: Buffer,
    start: number,
    end: number,
    transport: Transport,
    out: Buffer,
    at: number,
  ): number
}

/** Asks the upstreams; the class Forwarder is one. */
export interface Forward {
  forward(policy: ForwardPolicy, query: Buffer, limit: number, reply: (bytes: Buffer) => void): void
}

/** Shared by the listeners of a process. */
export interface Engine {
  readonly responder: Respond
  readonly forwarder: Forward
  /** The most a forwarded UDP reply may have; the responder has its own. */
  readonly udpBytes: number
  /** Takes what must not happen, such as a responder that throws: the packet is lost, no more. */
  readonly onError: (error: unknown) => void
}

/** A socket that answers queries until it is closed. */
export interface Listener {
  readonly address: string
  readonly port: number
  /** Closes the socket. Replies still to come from upstreams are dropped. */
  close(): Promise<void>
}

const noUpstreams: ForwardPolicy = { upstreams: [] }

export function newCounters(): QueryCounters {
  return { answered: 0, forwarded: 0, dropped: 0 }
}

/** Hands `query` (a copy that nobody else writes to) to the forwarder; `reply` runs once. */
export function forwardQuery(
  engine: Engine,
  answering: Answering,
  query: Buffer,
  transport: Transport,
  reply: (bytes: Buffer) => void,
): void {
  answering.counters.forwarded++
  const cap = transport === 'tcp' ? TCP_REPLY_BYTES : engine.udpBytes
  const parsed = parseQuery(query, 0, query.length)
  const limit = parsed.kind === 'failure' ? MIN_UDP_BYTES : clientLimit(parsed, transport, cap)
  engine.forwarder.forward(answering.view.forwarding ?? noUpstreams, query, limit, reply)
}

/** The error for a socket that cannot be bound, from the errno's name. */
export function listenError(
  errno: string,
  transport: Transport,
  address: string,
  port: number,
): ListenError {
  const what = `Cannot listen on ${address} port ${port} (${transport.toUpperCase()})`
  switch (errno) {
    case 'EADDRINUSE':
      return new ListenError(
        'LISTEN_ADDRESS_IN_USE',
        `${what}: another socket has it; stop that one or use port 0 for any free port`,
      )
    case 'EACCES':
    case 'EPERM':
      return new ListenError(
        'LISTEN_NOT_PERMITTED',
        `${what}: ports below 1024 need CAP_NET_BIND_SERVICE; use a higher port`,
      )
    case 'EADDRNOTAVAIL':
      return new ListenError(
        'LISTEN_NO_SUCH_ADDRESS',
        `${what}: no interface of this host has the address`,
      )
    default:
      return new ListenError('LISTEN_FAILED', `${what}: ${errno}`)
  }
}
