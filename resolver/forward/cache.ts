/**
 * Replies of upstreams for as long as their TTLs allow, and a while longer for when all upstreams
 * fail (RFC 8767). Least recently used go first. Keys say whose upstreams were asked, so a change
 * of upstreams finds nothing of before.
 */

import { LRUCache } from 'lru-cache'
import { ageTtls, measureLifetime, setTtls } from './lifetime.js'
import type { Query } from '../message.js'

/** How long after its end a reply may still serve where all upstreams fail. */
export const STALE_MS = 30_000

/** Bytes an entry takes beside its reply: key, offsets, objects; rounded up. */
const ENTRY_BYTES = 400
const AA_BIT = 0x04

interface Entry {
  readonly reply: Buffer
  readonly ttlOffsets: readonly number[]
  readonly storedAt: number
  readonly expiresAt: number
}

export interface CacheOptions {
  /** The most replies kept; 0 keeps none. */
  readonly maxEntries: number
  /** The most bytes they may take. */
  readonly maxBytes: number
  readonly now: () => number
}

/**
 * The key of a question: names in any case are one, and so are only questions whose replies are
 * the same bytes: same type, class, RD, CD and DO, asked of the same set of upstreams.
 */
export function cacheKey(upstreamSet: number, query: Query): string {
  const bits = (query.flags & 0x0110) | (query.edns?.do === true ? 1 : 0)
  const set = [upstreamSet & 0xffff, upstreamSet >>> 16] as const
  return String.fromCharCode(set[0], set[1], query.type, query.class, bits) + query.name
}

export class ReplyCache {
  readonly #entries: LRUCache<string, Entry> | undefined
  readonly #now: () => number

  constructor(options: CacheOptions) {
    this.#now = options.now
    if (options.maxEntries === 0) return
    this.#entries = new LRUCache({
      max: options.maxEntries,
      maxSize: options.maxBytes,
      sizeCalculation: (entry, key) => entry.reply.length + key.length * 2 + ENTRY_BYTES,
    })
  }

  get size(): number {
    return this.#entries?.size ?? 0
  }

  /** Keeps `reply`, which nobody may write to afterwards, if its records allow that. */
  put(key: string, reply: Buffer, questionEnd: number): void {
    if (this.#entries === undefined) return
    const lifetime = measureLifetime(reply, questionEnd)
    if (lifetime === undefined || lifetime.seconds === 0) return
    const storedAt = this.#now()
    const copy = Buffer.from(reply)
    // What we repeat is not authoritative (RFC 1034 §6.2.1).
    copy[2] = (copy[2] ?? 0) & ~AA_BIT
    const expiresAt = storedAt + lifetime.seconds * 1000
    this.#entries.set(key, { reply: copy, ttlOffsets: lifetime.ttlOffsets, storedAt, expiresAt })
  }

  /** A copy with aged TTLs, or undefined where nothing fresh is kept. */
  get(key: string): Buffer | undefined {
    const entry = this.#entries?.get(key)
    const now = this.#now()
    if (entry === undefined || now >= entry.expiresAt) return undefined
    const copy = Buffer.from(entry.reply)
    ageTtls(copy, entry.ttlOffsets, Math.floor((now - entry.storedAt) / 1000))
    return copy
  }

  /** A copy of what is at most 30 s past its end; its TTLs are what is left of those 30 s. */
  getStale(key: string): Buffer | undefined {
    const entry = this.#entries?.get(key)
    if (entry === undefined) return undefined
    const leftMs = entry.expiresAt + STALE_MS - this.#now()
    if (leftMs <= 0) return undefined
    const copy = Buffer.from(entry.reply)
    setTtls(copy, entry.ttlOffsets, Math.max(1, Math.min(STALE_MS, leftMs) / 1000) >>> 0)
    return copy
  }

  clear(): void {
    this.#entries?.clear()
  }
}
