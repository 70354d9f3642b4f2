/**
 * Replaces the replicas of a service without a moment in which none serves: some at a time, each
 * waited for until it is ready. The old one stays declared until its turn, so that a daemon that dies
 * on the way goes on where it was.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { replicasOf, type Catalog, type Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import { defaultUpdate, type UpdateSpec } from '../catalog/service.js'
import { findService, whyNotReady, whyNotServing } from '../plan/serving.js'
import { digestOf, type ProjectPlan } from '../plan/project.js'
import { Semaphore } from './mutex.js'

export interface RolloutOptions {
  readonly catalog: Catalog
  readonly project: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** Takes the old one out of the mesh, ends and forgets it. */
  readonly remove: (container: Container) => Promise<void>
}

/**
 * Replicas that `plan` replaces one after the other. The rest go before anything starts: what has a
 * static address, or shares its sandbox, cannot stand beside its successor.
 */
export function rolledReplicas(snapshot: Snapshot, plan: ProjectPlan): ReadonlySet<string> {
  const rolled = plan.create.flatMap(({ replaces }) => {
    if (replaces === undefined || replaces.sandboxOf !== undefined) return []
    if (snapshot.statuses.get(replaces.id)?.state !== 'running') return []
    const isAlone = replaces.endpoints.every(({ isStatic }) => !isStatic)
    const hasJoiners = (snapshot.joiners.get(replaces.id)?.size ?? 0) > 0
    return isAlone && !hasJoiners && !isOnReplaced(replaces, plan) ? [replaces.id] : []
  })
  return new Set(rolled)
}

function isOnReplaced({ endpoints }: Container, { replaceNetworks }: ProjectPlan): boolean {
  const gone = new Set(replaceNetworks.map(({ old }) => old.id))
  return endpoints.some(({ networkId }) => gone.has(networkId))
}

/** One `up` of one project: counts who is being replaced, service by service. */
export class Rollout {
  readonly #options: RolloutOptions
  readonly #turns = new Map<string, Semaphore>()
  /** Services whose replacement failed: the old replicas that are left stay. */
  readonly #failed = new Map<string, Error>()

  constructor(options: RolloutOptions) {
    this.#options = options
  }

  /** Starts `container` by `start`, in the place of the one it replaces where there is one. */
  async replace(container: Container, start: () => Promise<void>): Promise<void> {
    const key = container.service ?? ''
    const others = this.#othersOf(container)
    if (others.length === 0) return start()
    // One that ends while its successor waits for its turn is not started again.
    if (this.#isOutdated(container)) return
    const update = this.#updateOf(key)
    // What takes no connections is replaced at once: nothing is lost, and the rest waits for it.
    if (!hasReady(this.#options.catalog.snapshot, others)) {
      return this.#attempt(container, start, update)
    }
    const limit = update.parallelism === 0 ? Infinity : update.parallelism
    const turn = this.#turns.get(key) ?? new Semaphore(limit)
    this.#turns.set(key, turn)
    await turn.run(async () => {
      const failure = this.#failed.get(key)
      if (failure !== undefined) throw failure
      await this.#attempt(container, start, update)
    })
  }

  async #attempt(
    container: Container,
    start: () => Promise<void>,
    update: UpdateSpec,
  ): Promise<void> {
    try {
      await this.#swap(container, start, update)
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error))
      this.#failed.set(container.service ?? '', reason)
      throw reason
    }
  }

  async #swap(container: Container, start: () => Promise<void>, update: UpdateSpec): Promise<void> {
    const { remove, signal } = this.#options
    const old = this.#othersOf(container)
    const isOneOfMany = this.#replicasOf(container) > 1
    const wasReady = hasReady(this.#options.catalog.snapshot, old)
    const isStartFirst = update.order === 'start-first' && !sharesAddress(container, old)
    if (!isStartFirst) {
      await this.#waitForOthers(container, old)
      for (const one of old) await remove(one)
    }
    await start()
    // The next one stays until this one is ready; where none is to be kept up, nobody waits.
    if (isStartFirst || (isOneOfMany && wasReady)) await this.#waitUntilReady(container)
    if (isStartFirst) for (const one of old) await remove(one)
    if (update.delayMs > 0) await delay(update.delayMs, undefined, { signal })
  }

  /** Of its number: those it replaces, or the one that replaces it. */
  #othersOf({ id, project = '', service = '', number }: Container): Container[] {
    return replicasOf(this.#options.catalog.snapshot, project, service).filter(
      one => one.id !== id && one.number === number,
    )
  }

  #isOutdated({ service = '', digest }: Container): boolean {
    const { catalog, project } = this.#options
    const declared = findService(catalog.snapshot, project, service)
    return declared !== undefined && digestOf(declared) !== digest
  }

  #replicasOf({ service = '' }: Container): number {
    const { catalog, project } = this.#options
    return findService(catalog.snapshot, project, service)?.replicas ?? 1
  }

  #updateOf(service: string): UpdateSpec {
    const { catalog, project } = this.#options
    return findService(catalog.snapshot, project, service)?.update ?? defaultUpdate
  }

  #waitUntilReady({ id, name }: Container): Promise<void> {
    return this.#waitFor(snapshot => {
      const reason = whyNotReplaced(snapshot, id)
      return reason === undefined ? undefined : `"${name}" is not ready (${reason})`
    })
  }

  /** The last one that serves is not taken down while another is about to. */
  async #waitForOthers(container: Container, old: readonly Container[]): Promise<void> {
    const { project = '', service = '' } = container
    const leaving = new Set([container, ...old].map(({ id }) => id))
    await this.#waitFor(snapshot => {
      const isAlone = this.#replicasOf(container) < 2
      const others = replicasOf(snapshot, project, service).filter(({ id }) => !leaving.has(id))
      const isLast = hasReady(snapshot, old) && !hasReady(snapshot, others)
      const canCome = others.some(({ id }) => snapshot.statuses.get(id)?.state === 'running')
      if (isAlone || !isLast || !canCome) return undefined
      return `no other replica of "${service}" is ready`
    })
  }

  /** Resolves when `obstacle` finds none; rejects with the last one when the time is up. */
  async #waitFor(obstacle: (snapshot: Snapshot) => string | undefined): Promise<void> {
    const { catalog, timeoutMs, signal } = this.#options
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: Error): void => {
        unsubscribe()
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      }
      const check = (snapshot: Snapshot): void => {
        if (obstacle(snapshot) === undefined) settle()
      }
      const fail = (why: string): void => {
        const what = obstacle(catalog.snapshot) ?? 'a replica is not ready'
        settle(new Error(`${what} ${why}; the replicas that were not replaced yet serve on`))
      }
      const onAbort = (): void => fail('and another command came')
      const unsubscribe = catalog.subscribe(check)
      const timer = setTimeout(() => fail(`after ${timeoutMs / 1000} s`), timeoutMs)
      signal.addEventListener('abort', onAbort)
      if (signal.aborted) onAbort()
      else check(catalog.snapshot)
    })
  }
}

function hasReady(snapshot: Snapshot, replicas: readonly Container[]): boolean {
  return replicas.some(({ id }) => whyNotReplaced(snapshot, id) === undefined)
}

/** Why a replica that was started takes no connections; undefined where it does, or has done its work. */
function whyNotReplaced(snapshot: Snapshot, id: string): string | undefined {
  const status = snapshot.statuses.get(id)
  const container = snapshot.containers.get(id)
  if (container === undefined) return undefined
  if (status?.state === 'exited' && status.exitCode === 0) return undefined
  return whyNotServing(container, status) ?? whyNotReady(status)
}

function sharesAddress({ endpoints }: Container, others: readonly Container[]): boolean {
  const own = new Set(endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]))
  own.delete(undefined)
  return others.some(one => one.endpoints.some(({ ipv4, ipv6 }) => own.has(ipv4) || own.has(ipv6)))
}
