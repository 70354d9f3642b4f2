/**
 * The upstreams of policies, shared: two policies with equal upstreams use the same sockets, health
 * and cached replies. A set that changes is another set, with another id.
 */

import { Upstream } from './upstream.js'
import type { Logger } from '../../src/base/log.js'
import type { ForwardPolicy, SocketSpace, UpstreamAddress } from './policy.js'
import type { RandomSource } from './random.js'

/** Beyond this many sets, those unused for ten minutes are forgotten. */
const MANY_SETS = 1024
const FORGET_MS = 600_000

/** What decides the bytes of a reply: whom we ask and what we do with their failures. */
export interface UpstreamSet {
  readonly id: number
  readonly upstreams: readonly Upstream[]
  readonly isHedging: boolean
  readonly passesFailures: boolean
  readonly isCaching: boolean
  /** Some of its upstreams are closed; a policy that is asked for again gets another set. */
  isForgotten: boolean
}

/** One policy's share: its set, and how many of its clients wait. */
export interface PolicyState {
  readonly set: UpstreamSet
  waiting: number
}

export interface UpstreamSetsOptions {
  readonly random: RandomSource
  readonly now: () => number
  readonly logger: Logger
}

interface Held {
  readonly set: UpstreamSet
  readonly space: SocketSpace | undefined
}

export class UpstreamSets {
  readonly #options: UpstreamSetsOptions
  readonly #states = new WeakMap<ForwardPolicy, PolicyState>()
  readonly #sets = new Map<string, Held>()
  readonly #upstreams = new Map<string, { upstream: Upstream; space: SocketSpace | undefined }>()
  readonly #spaceIds = new WeakMap<SocketSpace, number>()
  #lastSet = 0
  #lastSpace = 0

  constructor(options: UpstreamSetsOptions) {
    this.#options = options
  }

  /** The state of `policy`, made when it is first seen. */
  stateOf(policy: ForwardPolicy): PolicyState {
    let state = this.#states.get(policy)
    if (state === undefined || state.set.isForgotten) {
      state = { set: this.#setOf(policy), waiting: 0 }
      this.#states.set(policy, state)
    }
    return state
  }

  /** Every upstream that is known now. */
  *upstreams(): Generator<Upstream> {
    for (const { upstream } of this.#upstreams.values()) yield upstream
  }

  /** Closes the upstreams that are asked from `space`: its sandbox goes away. */
  forgetSpace(space: SocketSpace): void {
    for (const [key, held] of this.#upstreams) {
      if (held.space !== space) continue
      this.#upstreams.delete(key)
      held.upstream.close()
    }
    for (const [key, held] of this.#sets) if (held.space === space) this.#forgetSet(key, held.set)
  }

  close(): void {
    for (const upstream of this.upstreams()) upstream.close()
    this.#upstreams.clear()
    this.#sets.clear()
  }

  #setOf(policy: ForwardPolicy): UpstreamSet {
    const isHedging = policy.isHedging ?? true
    const passesFailures = policy.passesFailures ?? false
    const isCaching = policy.isCaching ?? true
    const keys = policy.upstreams.map(upstream => this.#keyOf(upstream, policy.space))
    const key = [isHedging, passesFailures, isCaching, ...keys].join(' ')
    const known = this.#sets.get(key)
    if (known !== undefined) return known.set
    if (this.#sets.size >= MANY_SETS) this.#forgetUnused()
    const upstreams = policy.upstreams.map((address, i) =>
      this.#upstreamOf(keys[i] ?? '', address, policy.space),
    )
    const set = {
      id: ++this.#lastSet,
      upstreams,
      isHedging,
      passesFailures,
      isCaching,
      isForgotten: false,
    }
    const usesSpace = policy.upstreams.some(upstream => upstream.via === 'sandbox')
    this.#sets.set(key, { set, space: usesSpace ? policy.space : undefined })
    return set
  }

  #upstreamOf(key: string, address: UpstreamAddress, space: SocketSpace | undefined): Upstream {
    const known = this.#upstreams.get(key)
    if (known !== undefined) return known.upstream
    const upstream = new Upstream({ ...this.#options, address, space })
    this.#upstreams.set(key, { upstream, space: address.via === 'sandbox' ? space : undefined })
    return upstream
  }

  #keyOf(upstream: UpstreamAddress, space: SocketSpace | undefined): string {
    const stack = upstream.via === 'host' ? 'host' : this.#spaceId(space)
    return `${stack}|${upstream.address}|${upstream.port ?? ''}|${upstream.url ?? ''}`
  }

  #spaceId(space: SocketSpace | undefined): number {
    if (space === undefined) return 0
    let id = this.#spaceIds.get(space)
    if (id === undefined) {
      id = ++this.#lastSpace
      this.#spaceIds.set(space, id)
    }
    return id
  }

  #forgetSet(key: string, set: UpstreamSet): void {
    set.isForgotten = true
    this.#sets.delete(key)
  }

  #forgetUnused(): void {
    const oldest = this.#options.now() - FORGET_MS
    const isUnused = (upstream: Upstream): boolean => upstream.askedAt < oldest
    for (const [key, { set }] of this.#sets) {
      if (set.upstreams.some(isUnused)) this.#forgetSet(key, set)
    }
    for (const [key, { upstream }] of this.#upstreams) {
      if (!isUnused(upstream)) continue
      this.#upstreams.delete(key)
      upstream.close()
    }
  }
}
