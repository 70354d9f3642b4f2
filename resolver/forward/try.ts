/** One attempt of an exchange: which upstream, when, how, and what is known of it so far. */

import { composeUpstreamQuery } from './upstream-query.js'
import type { Attempt, Carrier, Transport } from './attempt.js'
import type { Exchange } from './exchange.js'
import type { Upstream } from './upstream.js'
import type { AskingStyle } from './upstream-query.js'

export class Try implements Attempt {
  readonly upstream: Upstream
  readonly transport: Transport
  readonly hasEdns: boolean
  /** The same upstream could not read the question with EDNS. */
  readonly isWithoutEdns: boolean
  /** Finds out by TCP whether a reply in other case was the server's. */
  readonly verifies: boolean
  readonly packet: Buffer
  readonly questionEnd: number
  readonly sentAt: number
  carrier: Carrier | undefined
  /** Counted as unanswered. */
  isLate = false
  /** Such a check by TCP is under way. */
  isVerified = false
  readonly #exchange: Exchange

  constructor(
    exchange: Exchange,
    upstream: Upstream,
    transport: Transport,
    style: AskingStyle,
    isWithoutEdns: boolean,
    verifies: boolean,
  ) {
    const { client, query, random, now } = exchange.options
    this.upstream = upstream
    this.transport = transport
    this.hasEdns = style.hasEdns
    this.isWithoutEdns = isWithoutEdns
    this.verifies = verifies
    this.packet = composeUpstreamQuery(client, query, style, random)
    this.questionEnd = query.questionEnd
    this.sentAt = now()
    this.#exchange = exchange
  }

  onReply(reply: Buffer, match: 'reply' | 'case'): void {
    this.#exchange.onReply(this, reply, match === 'reply')
  }

  onError(reason: string): void {
    this.#exchange.onError(this, reason)
  }
}
