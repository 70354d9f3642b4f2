/**
 * What we believe of one upstream: up or down, and how fast. CoreDNS's model (plugin/forward):
 * two failures in a row are down, any reply is up, and probes find out what queries no longer do.
 * Pure: time is an argument, nothing is sent.
 */

/** Failures in a row that make an upstream down. */
export const FAILURES_TO_DOWN = 2
/** Between probes of an upstream that failed. */
export const PROBE_INTERVAL_MS = 500
/** After this many unanswered probes the interval doubles with each, up to the maximum. */
export const PROBES_BEFORE_BACKOFF = 10
export const MAX_PROBE_INTERVAL_MS = 10_000
/** An upstream that nobody asked for this long is not probed; the next question starts it again. */
export const PROBE_INTEREST_MS = 60_000

/** The least wait before the next upstream is asked, and how many round trips it is otherwise. */
export const MIN_HEDGE_MS = 250
export const HEDGE_ROUND_TRIPS = 3

const SMOOTHING = 1 / 8

/** Health of one upstream. Times are a Clock's milliseconds. */
export class Health {
  /** Smoothed round trip time; undefined until the first reply. */
  roundTripMs: number | undefined
  #failures = 0
  #lastReplyAt = -Infinity
  #probes = 0
  #nextProbeAt = Infinity

  get isUp(): boolean {
    return this.#failures < FAILURES_TO_DOWN
  }

  /** How long to wait for this upstream before the next is asked. */
  get hedgeMs(): number {
    return Math.max(MIN_HEDGE_MS, HEDGE_ROUND_TRIPS * (this.roundTripMs ?? 0))
  }

  /** A reply to what was sent at `sentAt`. Returns true where it brings the upstream up. */
  noteReply(sentAt: number, now: number): boolean {
    const sample = now - sentAt
    const old = this.roundTripMs
    this.roundTripMs = old === undefined ? sample : old + (sample - old) * SMOOTHING
    this.#lastReplyAt = now
    const wasDown = !this.isUp
    this.#failures = 0
    this.#probes = 0
    this.#nextProbeAt = Infinity
    return wasDown
  }

  /**
   * Nothing came back for what was sent at `sentAt`, or the network refused it. Returns true
   * where it takes the upstream down. A server that answered something else since is only slow
   * or silent about this one name.
   */
  noteFailure(sentAt: number, now: number): boolean {
    if (this.#lastReplyAt >= sentAt) return false
    this.#failures++
    if (this.#nextProbeAt === Infinity) this.#nextProbeAt = now
    return this.#failures === FAILURES_TO_DOWN
  }

  /** True where a probe is due; counts it as sent. `askedAt` is when a client last needed it. */
  takeProbe(now: number, askedAt: number): boolean {
    if (now < this.#nextProbeAt || now - askedAt > PROBE_INTEREST_MS) return false
    const doublings = Math.max(0, this.#probes - PROBES_BEFORE_BACKOFF)
    const interval = PROBE_INTERVAL_MS * 2 ** Math.min(doublings, 10)
    this.#probes++
    this.#nextProbeAt = now + Math.min(interval, MAX_PROBE_INTERVAL_MS)
    return true
  }

  /** True while a probe is or will be due without another failure. */
  wantsProbes(now: number, askedAt: number): boolean {
    return this.#nextProbeAt !== Infinity && now - askedAt <= PROBE_INTEREST_MS
  }
}
