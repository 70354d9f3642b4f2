/**
 * What one view may ask and how: its upstreams in order, and where sockets to them are made. Plain
 * data that the caller decides (container, network, daemon or host lists); sends nothing itself.
 */

import { createSocket } from 'node:dgram'
import { Socket } from 'node:net'
import type { Socket as DatagramSocket } from 'node:dgram'

/** The port of DNS over UDP and TCP (RFC 1035 §4.2). */
export const DNS_PORT = 53

/** Upstreams asked for one question; the rest of a list are spares for those that are down. */
export const MAX_ASKED = 3

/** One recursive resolver. */
export interface UpstreamAddress {
  /** IPv4 or IPv6; a link-local address may carry a zone (`fe80::1%eth0`). */
  readonly address: string
  /** Default 53, or the port of `url`. */
  readonly port?: number
  /** Which network stack asks: ours, or that of the policy's `space`. */
  readonly via: 'host' | 'sandbox'
  /** DNS over HTTPS (RFC 8484): the URL to post to; connections still go to `address`. */
  readonly url?: string
}

/** Makes sockets in one network stack. Both may throw where the stack is gone. */
export interface SocketSpace {
  /** A UDP socket, bound or not, that nothing was sent from. */
  udp(family: 4 | 6): DatagramSocket
  /** A TCP socket that is not connected. */
  tcp(family: 4 | 6): Socket
}

/** One object per view. A changed policy is a new object; equal upstreams share sockets and cache. */
export interface ForwardPolicy {
  /** In order of preference. None: every question fails at once. */
  readonly upstreams: readonly UpstreamAddress[]
  /** Where `via: 'sandbox'` sockets are made. Without it such upstreams are not asked. */
  readonly space?: SocketSpace
  /**
   * Default true: the next upstream is asked when the first is late. False: one after the other,
   * each with an equal part of the budget, as aardvark-dns does.
   */
  readonly isHedging?: boolean
  /** Default false. True: SERVFAIL and REFUSED go to the client as they came, as aardvark-dns does. */
  readonly passesFailures?: boolean
  /** Default true: replies may come from and go into the cache. */
  readonly isCaching?: boolean
}

/** The network stack of this process. */
export const hostSpace: SocketSpace = {
  udp: family => createSocket(family === 6 ? 'udp6' : 'udp4'),
  tcp: () => new Socket(),
}
