/**
 * Answers what is not ours from upstreams: cache, then a question already in flight, then an
 * exchange. Bounds what may wait, and never leaves a client without a reply. One timer serves all:
 * 25 ms steps while anything is in flight, slow ones while sockets are open.
 */

import { systemClock } from '../../src/base/clock.js'
import { errorMessage } from '../../src/base/error.js'
import { silentLogger } from '../../src/base/log.js'
import { composeFailure, fitReply } from '../fit.js'
import { parseQuery } from '../message.js'
import { EDE, RCODE } from '../rcode.js'
import { ReplyCache, cacheKey } from './cache.js'
import { Exchange } from './exchange.js'
import { LoopGuard } from './loop-guard.js'
import { createRandomSource } from './random.js'
import { appendExtendedError } from './extended-error.js'
import { UpstreamSets } from './upstream-set.js'
import type { Clock, Timer } from '../../src/base/clock.js'
import type { Logger } from '../../src/base/log.js'
import type { Query } from '../message.js'
import type { ExtendedError } from '../rcode.js'
import type { Outcome } from './exchange.js'
import type { ForwardPolicy, SocketSpace } from './policy.js'
import type { RandomSource } from './random.js'
import type { PolicyState } from './upstream-set.js'
import type { UpstreamStatus } from './upstream.js'

/** A stub resolver gives up after 5 s (resolv.conf(5), `timeout`); ours is the shorter time. */
export const DEFAULT_BUDGET_MS = 4500
/** Clients that may wait for upstreams: of one policy (Docker: 1024 a container), and of all. */
export const DEFAULT_MAX_WAITING_A_POLICY = 1024
export const DEFAULT_MAX_WAITING = 16_384
export const DEFAULT_CACHE_ENTRIES = 8192
export const DEFAULT_CACHE_BYTES = 8 * 1024 * 1024

/** RFC 8914 and its registry: 31 is "Rate Limited". */
const RATE_LIMITED = 31
/** RFC 8767 §5: what a client waits before a stale answer is better than none. */
const STALE_AFTER_MS = 1800
const STALE: ExtendedError = { code: EDE.STALE_ANSWER, text: 'upstreams do not answer' }
const BUSY_STEP_MS = 25
const IDLE_STEP_MS = 250

export interface ForwarderOptions {
  readonly clock?: Clock
  readonly random?: RandomSource
  readonly logger?: Logger
  readonly budgetMs?: number
  readonly maxWaitingPerPolicy?: number
  readonly maxWaiting?: number
  /** 0 switches the cache off. */
  readonly cacheEntries?: number
  readonly cacheBytes?: number
}

/** What became of the questions since the start; every question counts in `asked` once. */
export interface ForwardCounters {
  asked: number
  /** Answered from the cache. */
  cached: number
  /** Joined a question in flight. */
  joined: number
  /** Answered with a kept reply past its end, because all upstreams failed. */
  stale: number
  /** SERVFAIL because upstreams failed. */
  failed: number
  /** SERVFAIL because too many waited. */
  overflowed: number
  /** Our own query that came back to us. */
  looped: number
}

interface Waiter {
  readonly query: Buffer
  readonly limit: number
  readonly reply: (bytes: Buffer) => void
  readonly state: PolicyState
}

/** A question in flight and who waits for it. */
interface Pending {
  readonly key: string
  readonly questionEnd: number
  readonly isCaching: boolean
  readonly startedAt: number
  waiters: Waiter[]
  isStaleTried: boolean
  exchange: Exchange | undefined
}

export class Forwarder {
  readonly counters: ForwardCounters = {
    asked: 0,
    cached: 0,
    joined: 0,
    stale: 0,
    failed: 0,
    overflowed: 0,
    looped: 0,
  }
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #logger: Logger
  readonly #budgetMs: number
  readonly #maxWaitingPerPolicy: number
  readonly #maxWaiting: number
  readonly #cache: ReplyCache
  readonly #sets: UpstreamSets
  readonly #loops = new LoopGuard()
  readonly #inFlight = new Map<string, Pending>()
  /** Those in flight, and those over that still hear how late the others are. */
  readonly #live = new Set<Pending>()
  readonly #now: () => number
  #waiting = 0
  #timer: Timer | undefined
  #isBusy = false
  #nextSweepAt = -Infinity
  /** Some upstream has open sockets or probes to send, so far as the last sweep saw. */
  #hasSockets = false
  #isClosed = false

  constructor(options: ForwarderOptions = {}) {
    const clock = options.clock ?? systemClock
    this.#clock = clock
    this.#now = () => clock.now()
    this.#random = options.random ?? createRandomSource()
    this.#logger = options.logger ?? silentLogger
    this.#budgetMs = options.budgetMs ?? DEFAULT_BUDGET_MS
    this.#maxWaitingPerPolicy = options.maxWaitingPerPolicy ?? DEFAULT_MAX_WAITING_A_POLICY
    this.#maxWaiting = options.maxWaiting ?? DEFAULT_MAX_WAITING
    this.#cache = new ReplyCache({
      maxEntries: options.cacheEntries ?? DEFAULT_CACHE_ENTRIES,
      maxBytes: options.cacheBytes ?? DEFAULT_CACHE_BYTES,
      now: this.#now,
    })
    const { random, logger, now } = { random: this.#random, logger: this.#logger, now: this.#now }
    this.#sets = new UpstreamSets({ random, logger, now })
  }

  /**
   * Answers `query`, the client's own bytes, which the caller no longer writes to, with at most
   * `limit` bytes. Calls `reply` exactly once, perhaps before it returns, and within the budget.
   * Never throws.
   */
  forward(
    policy: ForwardPolicy,
    query: Buffer,
    limit: number,
    reply: (bytes: Buffer) => void,
  ): void {
    this.counters.asked++
    const parsed = parseQuery(query, 0, query.length)
    if (parsed.kind === 'failure') {
      return this.#say(reply, composeFailure(query, Math.max(RCODE.FORMERR, parsed.rcode)))
    }
    const state = this.#sets.stateOf(policy)
    const refusal = this.#refusalOf(state, query, parsed)
    if (refusal !== undefined) {
      return this.#say(reply, composeFailure(query, RCODE.SERVFAIL, refusal))
    }
    const waiter: Waiter = { query, limit, reply, state }
    const key = cacheKey(state.set.id, parsed)
    const kept = state.set.isCaching ? this.#cache.get(key) : undefined
    if (kept !== undefined) {
      this.counters.cached++
      return this.#answer(waiter, kept)
    }
    if (this.#isFull(state)) {
      this.counters.overflowed++
      const reason = { code: RATE_LIMITED, text: 'too many queries wait for upstreams' }
      return this.#say(reply, composeFailure(query, RCODE.SERVFAIL, reason))
    }
    this.#waiting++
    state.waiting++
    const pending = this.#inFlight.get(key)
    if (pending === undefined) return this.#begin(key, waiter, parsed)
    this.counters.joined++
    pending.waiters.push(waiter)
    // The exchange goes on without those who got a stale answer; whoever comes now gets it too.
    if (pending.isStaleTried) this.#serveStale(pending)
  }

  /** The upstreams known now, with their health. */
  status(): readonly UpstreamStatus[] {
    return [...this.#sets.upstreams()].map(upstream => upstream.status())
  }

  /** How many clients wait for upstreams now. */
  get waiting(): number {
    return this.#waiting
  }

  flushCache(): void {
    this.#cache.clear()
  }

  /** Closes the sockets made in `space`; call it when the sandbox goes away. */
  forgetSpace(space: SocketSpace): void {
    this.#sets.forgetSpace(space)
  }

  /** Answers those who wait with SERVFAIL and closes all sockets. Later questions get SERVFAIL. */
  close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const { exchange } of [...this.#live]) {
      exchange?.abandon({ code: EDE.OTHER, text: 'the resolver is closing' })
    }
    this.#live.clear()
    this.#sets.close()
    this.#cache.clear()
    return Promise.resolve()
  }

  /** Why `query` must not be asked, or undefined. */
  #refusalOf(state: PolicyState, query: Buffer, parsed: Query): ExtendedError | undefined {
    if (this.#isClosed) return { code: EDE.OTHER, text: 'the resolver is closing' }
    if (state.set.upstreams.length === 0) {
      this.counters.failed++
      return { code: EDE.NO_REACHABLE_AUTHORITY, text: 'no upstream servers' }
    }
    if (this.#loops.sees(query, parsed.questionEnd)) {
      this.counters.looped++
      this.#logger.warn({}, 'An upstream forwards our queries back to us; remove it from the list')
      return { code: EDE.OTHER, text: 'forwarding loop' }
    }
    return undefined
  }

  #isFull(state: PolicyState): boolean {
    return state.waiting >= this.#maxWaitingPerPolicy || this.#waiting >= this.#maxWaiting
  }

  #begin(key: string, waiter: Waiter, query: Query): void {
    const { set } = waiter.state
    const { questionEnd } = query
    const startedAt = this.#now()
    const pending: Pending = {
      key,
      questionEnd,
      isCaching: set.isCaching,
      startedAt,
      waiters: [waiter],
      isStaleTried: false,
      exchange: undefined,
    }
    this.#inFlight.set(key, pending)
    this.#live.add(pending)
    const exchange = new Exchange({
      client: waiter.query,
      query,
      upstreams: set.upstreams,
      isHedging: set.isHedging,
      passesFailures: set.passesFailures,
      budgetMs: this.#budgetMs,
      startedAt,
      now: this.#now,
      random: this.#random,
      onEnd: outcome => this.#finish(pending, outcome),
      onSent: packet => this.#loops.add(packet),
      onReleased: packet => this.#loops.remove(packet),
    })
    pending.exchange = exchange
    exchange.start()
    // Known to be down, all of them: what is kept is better now than the same after the budget.
    if (!set.upstreams.some(upstream => upstream.health.isUp)) this.#serveStale(pending)
    this.#keepTime()
  }

  #finish(pending: Pending, outcome: Outcome): void {
    if (this.#inFlight.get(pending.key) === pending) this.#inFlight.delete(pending.key)
    // Else late replies are awaited until the budget ends: they tell which upstream is slow.
    if (pending.exchange?.isQuiet !== false) this.#live.delete(pending)
    if (outcome.kind === 'reply') {
      if (pending.isCaching) this.#cache.put(pending.key, outcome.reply, pending.questionEnd)
    } else if (this.#serveStale(pending)) return
    for (const waiter of this.#takeWaiters(pending)) {
      if (outcome.kind === 'reply') this.#answer(waiter, outcome.reply)
      else this.#refuse(waiter, outcome.reason)
    }
  }

  /** Answers those who wait with what is kept past its end; false where nothing is. */
  #serveStale(pending: Pending): boolean {
    pending.isStaleTried = true
    if (!pending.isCaching || pending.waiters.length === 0) return false
    const stale = this.#cache.getStale(pending.key)
    if (stale === undefined) return false
    for (const waiter of this.#takeWaiters(pending)) {
      this.counters.stale++
      this.#answer(waiter, stale, STALE)
    }
    return true
  }

  #takeWaiters(pending: Pending): readonly Waiter[] {
    const { waiters } = pending
    pending.waiters = []
    this.#waiting -= waiters.length
    for (const waiter of waiters) waiter.state.waiting--
    return waiters
  }

  #answer(waiter: Waiter, reply: Buffer, why?: ExtendedError): void {
    const { query, limit } = waiter
    const fitted = fitReply(reply, query, limit)
    if (fitted === undefined) {
      const text = 'the reply of an upstream does not parse'
      return this.#refuse(waiter, { code: EDE.NETWORK_ERROR, text })
    }
    this.#say(waiter.reply, why === undefined ? fitted : appendExtendedError(fitted, why, limit))
  }

  #refuse(waiter: Waiter, reason: ExtendedError): void {
    this.counters.failed++
    this.#say(waiter.reply, composeFailure(waiter.query, RCODE.SERVFAIL, reason))
  }

  #say(reply: (bytes: Buffer) => void, bytes: Buffer): void {
    try {
      reply(bytes)
    } catch (error) {
      this.#logger.error({ reason: errorMessage(error) }, 'A reply could not be handed over')
    }
  }

  /** Arms the one timer, at the short step. A timer that runs already serves this question too. */
  #keepTime(): void {
    if (this.#isBusy || this.#isClosed) return
    this.#isBusy = true
    this.#hasSockets = true
    this.#timer?.cancel()
    this.#timer = this.#clock.after(BUSY_STEP_MS, this.#step)
  }

  readonly #step = (): void => {
    if (this.#isClosed) return
    const now = this.#now()
    for (const pending of this.#live) {
      const isStaleDue = !pending.isStaleTried && now - pending.startedAt >= STALE_AFTER_MS
      if (isStaleDue) this.#serveStale(pending)
      if (pending.exchange?.tick(now) !== true) this.#live.delete(pending)
    }
    if (now >= this.#nextSweepAt) this.#sweep(now)
    this.#isBusy = this.#live.size > 0
    const isNeeded = this.#isBusy || this.#hasSockets
    const delay = this.#isBusy ? BUSY_STEP_MS : IDLE_STEP_MS
    this.#timer = isNeeded ? this.#clock.after(delay, this.#step) : undefined
  }

  #sweep(now: number): void {
    this.#nextSweepAt = now + IDLE_STEP_MS
    this.#hasSockets = false
    for (const upstream of this.#sets.upstreams()) {
      if (upstream.sweep(now)) this.#hasSockets = true
    }
  }
}
