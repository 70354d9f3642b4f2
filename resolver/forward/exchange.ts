/**
 * One question on its way through the upstreams of a policy: who is asked when, which reply ends
 * it, and what is best where none does. Time comes in by `tick`; nothing here has a timer.
 *
 * The order: up to three upstreams, those that are up first, as configured. The next is asked when
 * the last one is late (its hedge time, all of them by 2 s) or has failed; then round again with
 * doubled waits until the budget ends.
 */

import { FLAG } from '../accept.js'
import { uint16 } from '../message.js'
import { EDE, RCODE, formatRcode } from '../rcode.js'
import { MAX_ASKED } from './policy.js'
import { Try } from './try.js'
import type { Query } from '../message.js'
import type { ExtendedError } from '../rcode.js'
import type { Transport } from './attempt.js'
import type { RandomSource } from './random.js'
import type { Upstream } from './upstream.js'
import type { AskingStyle } from './upstream-query.js'

/** All upstreams have been asked by then. */
export const ALL_ASKED_BY_MS = 2000
/** Taken off the budget, so that the failure is out before it ends whatever the sweep's step. */
const FAILURE_MARGIN_MS = 100

/** How an exchange ended. */
export type Outcome =
  | { readonly kind: 'reply'; readonly reply: Buffer } //       to be fitted and kept
  | { readonly kind: 'failure'; readonly reason: ExtendedError }

export interface ExchangeOptions {
  /** The client's bytes and what they say. */
  readonly client: Buffer
  readonly query: Query
  readonly upstreams: readonly Upstream[]
  readonly isHedging: boolean
  readonly passesFailures: boolean
  readonly budgetMs: number
  readonly startedAt: number
  readonly now: () => number
  readonly random: RandomSource
  /** Runs once. */
  readonly onEnd: (outcome: Outcome) => void
  /** A packet is in flight, or no longer. */
  readonly onSent: (packet: Buffer) => void
  readonly onReleased: (packet: Buffer) => void
}

interface Candidate {
  readonly upstream: Upstream
  /** It has refused, failed or answered badly; asking again would bring the same. */
  isSpent: boolean
}

export class Exchange {
  readonly options: ExchangeOptions
  readonly #candidates: readonly Candidate[]
  readonly #tries = new Set<Try>()
  readonly #deadline: number
  #asked = 0
  #nextAt = Infinity
  #intervalMs = 0
  #isOver = false
  /** A cut reply, where the TCP retry is under way or has failed. */
  #truncated: Buffer | undefined
  #failure: ExtendedError = { code: EDE.NETWORK_ERROR, text: 'no upstream replied' }

  constructor(options: ExchangeOptions) {
    this.options = options
    this.#candidates = chooseUpstreams(options.upstreams).map(upstream => {
      return { upstream, isSpent: false }
    })
    this.#deadline = options.startedAt + options.budgetMs - FAILURE_MARGIN_MS
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** True where no reply is awaited. */
  get isQuiet(): boolean {
    return this.#tries.size === 0
  }

  start(): void {
    this.#askNext()
  }

  /** Returns false when nothing more is to come: it is over and no reply is awaited. */
  tick(now: number): boolean {
    if (now >= this.#deadline) {
      this.#noteLate(now)
      if (!this.#isOver) this.#fail()
      this.#releaseAll()
      return false
    }
    if (this.#isOver) return this.#tries.size > 0
    if (now >= this.#nextAt) {
      this.#noteLate(now)
      this.#askNext()
    }
    return true
  }

  /** Ends it without an answer from upstream. */
  abandon(reason: ExtendedError): void {
    this.#releaseAll()
    if (!this.#isOver) this.#end({ kind: 'failure', reason })
  }

  /** A reply to `attempt`, whose question is ours but perhaps for the letters' case. */
  onReply(attempt: Try, reply: Buffer, isExact: boolean): void {
    const { upstream } = attempt
    if (!isExact && attempt.transport === 'udp' && upstream.mixesCase) {
      this.#verifyByTcp(attempt)
      return
    }
    this.#release(attempt)
    upstream.noteReply(attempt.sentAt)
    if (attempt.transport === 'udp' && isExact) upstream.noteCaseKept()
    if (attempt.transport === 'tcp' && !isExact) upstream.noteCaseFolded(true)
    if (!this.#isOver) this.#judge(attempt, reply)
  }

  /** `attempt` will not be answered; its carrier has let go of it. */
  onError(attempt: Try, reason: string): void {
    this.#release(attempt)
    attempt.upstream.noteFailure(attempt.sentAt, reason)
    if (this.#isOver) return
    if (attempt.verifies) {
      attempt.upstream.noteCaseFolded(false)
      if (attempt.upstream.mixesCase) return
      // It folds: ask again as the client spelt it, and take what comes.
      return this.#ask(attempt.upstream, 'udp', attempt.hasEdns)
    }
    this.#failure = { code: EDE.NETWORK_ERROR, text: shortText(`upstream: ${reason}`) }
    this.#spend(attempt.upstream)
  }

  #judge(attempt: Try, reply: Buffer): void {
    const flags = uint16(reply, 2)
    const rcode = flags & FLAG.RCODE
    if (rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN) {
      if ((flags & FLAG.TC) !== 0 && attempt.transport === 'udp') {
        this.#truncated = reply
        this.#ask(attempt.upstream, 'tcp', attempt.hasEdns)
        return
      }
      if (attempt.isWithoutEdns) attempt.upstream.noteEdnsRefused()
      return this.#end({ kind: 'reply', reply })
    }
    if ((rcode === RCODE.FORMERR || rcode === RCODE.NOTIMP) && attempt.hasEdns) {
      return this.#ask(attempt.upstream, attempt.transport, false, true)
    }
    if (this.options.passesFailures && uint16(reply, 4) === 1) {
      return this.#end({ kind: 'reply', reply })
    }
    const text = `upstream replied ${formatRcode(rcode)}`
    this.#failure = { code: EDE.NO_REACHABLE_AUTHORITY, text }
    this.#spend(attempt.upstream)
  }

  /**
   * A UDP reply with other case is forged, or its server folds case. A forger cannot answer by
   * TCP, so that decides; meanwhile the wait for the real reply goes on.
   */
  #verifyByTcp(attempt: Try): void {
    if (this.#isOver || attempt.isVerified) return
    attempt.isVerified = true
    this.#ask(attempt.upstream, 'tcp', attempt.hasEdns, false, true)
  }

  #askNext(): void {
    const { startedAt, isHedging, budgetMs } = this.options
    if (this.#asked < this.#candidates.length) {
      const candidate = this.#candidates[this.#asked++]
      if (candidate === undefined) return
      const elapsed = this.options.now() - startedAt
      const left = this.#candidates.length - this.#asked
      this.#intervalMs = isHedging
        ? hedgeInterval(candidate.upstream.health.hedgeMs, elapsed, left)
        : budgetMs / this.#candidates.length
      this.#nextAt = startedAt + elapsed + this.#intervalMs
      this.#ask(candidate.upstream, candidate.upstream.transport, candidate.upstream.takesEdns)
      return
    }
    const open = this.#candidates.filter(candidate => !candidate.isSpent)
    if (open.length === 0) {
      // Whoever is still to reply (a TCP retry) decides.
      if (this.#tries.size === 0) this.#fail()
      return
    }
    if (!isHedging) return void (this.#nextAt = Infinity)
    const again = open[this.#asked++ % open.length]
    if (again === undefined) return
    this.#intervalMs *= 2
    this.#nextAt = this.options.now() + this.#intervalMs
    this.#ask(again.upstream, again.upstream.transport, again.upstream.takesEdns)
  }

  #ask(
    upstream: Upstream,
    transport: Transport,
    hasEdns: boolean,
    isWithoutEdns = false,
    verifies = false,
  ): void {
    // By TCP only where that shows whether the server folds: else a forger has nothing to guess.
    const mixesCase = upstream.mixesCase && (transport === 'udp' || verifies)
    const style: AskingStyle = { hasEdns, mixesCase }
    const attempt = new Try(this, upstream, transport, style, isWithoutEdns, verifies)
    this.#tries.add(attempt)
    upstream.askedAt = attempt.sentAt
    upstream.send(attempt, transport)
    // HTTPS has no id of its own: clients with id 0 would look like our queries coming back.
    const hasOwnId = transport !== 'https' && attempt.carrier !== undefined
    if (hasOwnId) this.options.onSent(attempt.packet)
  }

  /** Nothing better will come from `upstream`: on to the next, or to the end. */
  #spend(upstream: Upstream): void {
    for (const candidate of this.#candidates) {
      if (candidate.upstream === upstream) candidate.isSpent = true
    }
    const isLast = this.#asked >= this.#candidates.length
    if (!isLast || this.#candidates.every(candidate => candidate.isSpent)) this.#askNext()
  }

  #fail(): void {
    if (this.#truncated !== undefined) this.#end({ kind: 'reply', reply: this.#truncated })
    else this.#end({ kind: 'failure', reason: this.#failure })
  }

  #end(outcome: Outcome): void {
    this.#isOver = true
    this.options.onEnd(outcome)
  }

  #noteLate(now: number): void {
    for (const attempt of this.#tries) {
      if (attempt.isLate) continue
      attempt.isLate = true
      attempt.upstream.noteFailure(
        attempt.sentAt,
        `no reply in ${Math.round(now - attempt.sentAt)} ms`,
      )
    }
  }

  #release(attempt: Try): void {
    if (!this.#tries.delete(attempt)) return
    attempt.carrier?.release(attempt)
    this.options.onReleased(attempt.packet)
  }

  #releaseAll(): void {
    for (const attempt of [...this.#tries]) this.#release(attempt)
  }
}

/**
 * Whom to ask, in order: the first three that are up, as configured; where fewer are up, those
 * that are down come last. Spares serve only while one of the first three is down.
 */
export function chooseUpstreams(upstreams: readonly Upstream[]): readonly Upstream[] {
  if (upstreams.length <= 1) return upstreams
  const up = upstreams.filter(upstream => upstream.health.isUp)
  if (up.length >= MAX_ASKED) return up.slice(0, MAX_ASKED)
  const down = upstreams.filter(upstream => !upstream.health.isUp)
  return [...up, ...down].slice(0, MAX_ASKED)
}

/** The wait before the next upstream: `hedgeMs`, or less so that `left` more are asked by 2 s. */
export function hedgeInterval(hedgeMs: number, elapsedMs: number, left: number): number {
  if (left === 0) return hedgeMs
  return Math.min(hedgeMs, Math.max(0, ALL_ASKED_BY_MS - elapsedMs) / left)
}

/** An extended error's text must be ASCII here, and leave room in 512 bytes. */
function shortText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100)
}
