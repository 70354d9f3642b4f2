/**
 * The only mutable model: an immutable snapshot, swapped whole, and who wants to hear of it.
 *
 * It keeps no file and starts no process. Changes come in as data (`change.ts`), are applied by a
 * pure function (`apply.ts`), and go out as a delta beside the new snapshot.
 */

import type { Allocation } from './allocation.js'
import { allocationKey } from './allocation.js'
import { applyChanges } from './apply.js'
import type { Change, Delta } from './change.js'
import type { Container, ContainerStatus } from './container.js'
import type { Network } from './network.js'
import type { ProjectSpec } from './project.js'

export interface Snapshot {
  /** Grows by one a swap. */
  readonly version: number
  readonly networks: ReadonlyMap<string, Network>
  readonly containers: ReadonlyMap<string, Container>
  readonly statuses: ReadonlyMap<string, ContainerStatus>
  readonly projects: ReadonlyMap<string, ProjectSpec>
  /** By `allocationKey`. */
  readonly allocations: ReadonlyMap<string, Allocation>
  /** Container ids by network id, so that a change of one network never walks the rest. */
  readonly members: ReadonlyMap<string, ReadonlySet<string>>
  /** Ids of the containers that share a container's sandbox, by that container's id. */
  readonly joiners: ReadonlyMap<string, ReadonlySet<string>>
  /** Container ids of the replicas of a service, by `allocationKey`. */
  readonly replicas: ReadonlyMap<string, ReadonlySet<string>>
}

export const emptySnapshot: Snapshot = {
  version: 0,
  networks: new Map(),
  containers: new Map(),
  statuses: new Map(),
  projects: new Map(),
  allocations: new Map(),
  members: new Map(),
  joiners: new Map(),
  replicas: new Map(),
}

export type CatalogListener = (snapshot: Snapshot, delta: Delta, previous: Snapshot) => void

export class Catalog {
  #snapshot: Snapshot = emptySnapshot
  readonly #listeners = new Set<CatalogListener>()

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  /** Swaps the snapshot and tells the listeners before it returns. Changes that hold already are no news. */
  apply(changes: readonly Change[]): Delta {
    const { snapshot, delta } = applyChanges(this.#snapshot, changes)
    if (snapshot === this.#snapshot) return delta
    const previous = this.#snapshot
    this.#snapshot = snapshot
    for (const listener of this.#listeners) listener(snapshot, delta, previous)
    return delta
  }

  /** Calls `listener` after each swap, in the order of subscription. Returns how to end that. */
  subscribe(listener: CatalogListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** The container of this name, full id, or unambiguous id prefix of at least four digits. */
export function findContainer(snapshot: Snapshot, nameOrId: string): Container | undefined {
  const exact = snapshot.containers.get(nameOrId)
  if (exact !== undefined) return exact
  const matches: Container[] = []
  for (const container of snapshot.containers.values()) {
    if (container.name === nameOrId) return container
    if (nameOrId.length >= 4 && container.id.startsWith(nameOrId)) matches.push(container)
  }
  return matches.length === 1 ? matches[0] : undefined
}

/** The network of this name, full id, or unambiguous id prefix of at least four digits. */
export function findNetwork(snapshot: Snapshot, nameOrId: string): Network | undefined {
  const exact = snapshot.networks.get(nameOrId)
  if (exact !== undefined) return exact
  const matches: Network[] = []
  for (const network of snapshot.networks.values()) {
    if (network.name === nameOrId) return network
    if (nameOrId.length >= 4 && network.id.startsWith(nameOrId)) matches.push(network)
  }
  return matches.length === 1 ? matches[0] : undefined
}

/** The replicas of a service of a project, by number. */
export function replicasOf(snapshot: Snapshot, project: string, service: string): Container[] {
  const ids = snapshot.replicas.get(allocationKey(project, service)) ?? []
  return [...ids]
    .flatMap(id => snapshot.containers.get(id) ?? [])
    .sort((a, b) => a.number - b.number)
}
