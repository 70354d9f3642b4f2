/**
 * Holds what a node is to balance, and brings its dataplane there: one change after the other, only
 * what differs, and by the kernel's own word after anything went wrong.
 */

import { isDeepStrictEqual } from 'node:util'
import { UserspaceDataplane } from './dataplane/userspace/userspace.js'
import { MeshError } from './error.js'
import { emptyState } from './state.js'
import { validateState } from './validate.js'
import type { Dataplane, DestinationStats, Hop } from './dataplane/dataplane.js'
import type { MeshState, VirtualService } from './state.js'

export interface MeshOptions {
  /** `userspace` needs no rights; other dataplanes are opened by whoever knows the node. */
  readonly dataplane: 'userspace' | Dataplane
  readonly services?: MeshState | Iterable<VirtualService>
  /** What mending after somebody else's change ran into. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** How many differences somebody else's change had made. */
  readonly onMended?: (differences: number) => void
}

export class Mesh {
  readonly dataplane: Dataplane
  readonly #options: MeshOptions
  #desired: MeshState = emptyState
  /** True once the kernel may have something else than `#desired`. */
  #isDoubtful = false
  #isMendDue = false
  #last: Promise<unknown> = Promise.resolve()

  private constructor(options: MeshOptions) {
    this.#options = options
    this.dataplane =
      options.dataplane === 'userspace' ? new UserspaceDataplane() : options.dataplane
    this.dataplane.onTampered(() => this.#mendLater())
  }

  /** Adopts what an earlier process left in the kernel. Rejects as `update` does. */
  static async open(options: MeshOptions): Promise<Mesh> {
    const mesh = new Mesh(options)
    mesh.#isDoubtful = true
    try {
      await mesh.update(options.services ?? [])
    } catch (error) {
      await mesh.close()
      throw error
    }
    return mesh
  }

  get state(): MeshState {
    return this.#desired
  }

  /**
   * Balances `services` and nothing else; a state must not change any more. Rejects with MeshError `MESH_BAD_SERVICE`,
   * `MESH_UNSUPPORTED`, `MESH_PORT_IN_USE`, or what the kernel said; the state from before holds then.
   */
  async update(services: MeshState | Iterable<VirtualService>): Promise<void> {
    const desired = isState(services) ? services : stateOf(services)
    await this.#enqueue(() => this.#bring(desired))
  }

  /** Believes the kernel: returns how many differences there were. */
  reconcile(): Promise<number> {
    return this.#enqueue(() => this.#reconcile(this.#desired))
  }

  stats(): Promise<readonly DestinationStats[]> {
    return this.dataplane.stats()
  }

  /** The way of a new connection to the service of this key; undefined where there is none. */
  async trace(key: string): Promise<readonly Hop[] | undefined> {
    const service = this.#desired.get(key)
    return service === undefined ? undefined : this.dataplane.trace(service)
  }

  /** As Dataplane.close, after the changes under way. */
  close(): Promise<void> {
    return this.#enqueue(() => this.dataplane.close())
  }

  /** As Dataplane.remove, after the changes under way. */
  remove(): Promise<void> {
    return this.#enqueue(() => this.dataplane.remove())
  }

  async #bring(desired: MeshState): Promise<void> {
    const changed = changedKeys(this.#desired, desired)
    validateState(desired, { state: this.#desired, changed })
    const isAnew = this.#isDoubtful
    for (const [key, service] of desired) {
      if (isAnew || changed.has(key)) this.dataplane.check(service)
    }
    if (isAnew) await this.#reconcile(desired)
    else if (changed.size > 0) await this.#apply(desired, changed)
    this.#desired = desired
  }

  /** What a service asks for in vain is told at once; anything else may be our memory that is wrong. */
  async #apply(desired: MeshState, changed: ReadonlySet<string>): Promise<void> {
    try {
      await this.dataplane.apply(desired, changed)
    } catch (error) {
      if (error instanceof MeshError) throw error
      await this.#reconcile(desired)
    }
  }

  async #reconcile(desired: MeshState): Promise<number> {
    this.#isDoubtful = true
    const differences = await this.dataplane.reconcile(desired)
    this.#isDoubtful = false
    return differences
  }

  #enqueue<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#last.then(body)
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Many tellings of one flush are mended once. */
  #mendLater(): void {
    if (this.#isMendDue) return
    this.#isMendDue = true
    const mend = this.#enqueue(async () => {
      this.#isMendDue = false
      return this.#reconcile(this.#desired)
    })
    mend.then(
      differences => differences > 0 && this.#options.onMended?.(differences),
      (error: unknown) => (this.#options.onError ?? warn)(error),
    )
  }
}

/** By key. Throws MeshError `MESH_BAD_SERVICE` where two services have one. */
export function stateOf(services: Iterable<VirtualService>): MeshState {
  const state = new Map<string, VirtualService>()
  for (const service of services) {
    const other = state.get(service.key)
    if (other !== undefined) {
      throw new MeshError(
        'MESH_BAD_SERVICE',
        `Services "${other.name}" and "${service.name}" both have key "${service.key}"`,
      )
    }
    state.set(service.key, service)
  }
  return state
}

/** Keys of services that are only in one of both states, or differ. */
export function changedKeys(before: MeshState, after: MeshState): ReadonlySet<string> {
  const changed = new Set<string>()
  let kept = 0
  for (const [key, service] of after) {
    const old = before.get(key)
    if (old !== undefined) kept++
    if (old !== service && !isDeepStrictEqual(old, service)) changed.add(key)
  }
  if (kept === before.size) return changed
  for (const key of before.keys()) if (!after.has(key)) changed.add(key)
  return changed
}

function isState(services: MeshState | Iterable<VirtualService>): services is MeshState {
  return services instanceof Map
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}
