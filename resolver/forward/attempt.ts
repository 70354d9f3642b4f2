/** One packet on its way to one upstream, and what carries it. */

import type { ReplyMatch } from './upstream-query.js'

/** How an attempt travels. */
export type Transport = 'udp' | 'tcp' | 'https'

/** Takes attempts to one upstream by one transport. */
export interface Carrier {
  /** Sends at once or as soon as it is connected; never throws. A carrier may write the id. */
  send(attempt: Attempt): void
  /** Forgets an attempt: its reply is dropped from now on. Unknown ones are ignored. */
  release(attempt: Attempt): void
  /** Closes what has been idle. Returns true while anything is open. */
  sweep(now: number): boolean
  /** Closes everything; attempts under way hear of an error. */
  close(): void
}

/** A packet that waits for its reply. Callbacks run until it is released. */
export interface Attempt {
  /** As sent. The first two bytes, the id, are the carrier's to write. */
  readonly packet: Buffer
  /** Where the question of `packet` ends. */
  readonly questionEnd: number
  /** Who holds the attempt; set by the carrier that sent it. */
  carrier: Carrier | undefined
  /** A packet of the upstream whose id and question are ours, letter case perhaps aside. */
  onReply(reply: Buffer, match: Exclude<ReplyMatch, 'other'>): void
  /** It will not arrive: refused, reset, or no socket. The carrier has released it. */
  onError(reason: string): void
}
