/** Applies changes to a snapshot. Pure; copies only the maps that change. */

import { isDeepStrictEqual } from 'node:util'
import { allocationKey, type Allocation } from './allocation.js'
import type { Snapshot } from './catalog.js'
import type { Change, Delta } from './change.js'
import type { Container, ContainerStatus } from './container.js'
import type { Network } from './network.js'
import type { ProjectSpec } from './project.js'

/** The next snapshot and its delta; the same snapshot where nothing is new. */
export function applyChanges(
  snapshot: Snapshot,
  changes: readonly Change[],
): { readonly snapshot: Snapshot; readonly delta: Delta } {
  const draft = new Draft(snapshot)
  for (const change of changes) draft.apply(change)
  return draft.finish()
}

class Draft {
  readonly #base: Snapshot
  #networks: Map<string, Network> | undefined
  #containers: Map<string, Container> | undefined
  #statuses: Map<string, ContainerStatus> | undefined
  #projects: Map<string, ProjectSpec> | undefined
  #allocations: Map<string, Allocation> | undefined
  readonly #members: IndexDraft
  readonly #joiners: IndexDraft
  readonly #replicas: IndexDraft
  readonly #changedNetworks = new Set<string>()
  readonly #changedContainers = new Set<string>()
  readonly #changedProjects = new Set<string>()
  readonly #changedAllocations = new Set<string>()
  readonly #affected = new Set<string>()

  constructor(base: Snapshot) {
    this.#base = base
    this.#members = new IndexDraft(base.members)
    this.#joiners = new IndexDraft(base.joiners)
    this.#replicas = new IndexDraft(base.replicas)
  }

  apply(change: Change): void {
    switch (change.op) {
      case 'put-network':
        return this.#putNetwork(change.network)
      case 'remove-network':
        return this.#removeNetwork(change.id)
      case 'put-container':
        return this.#putContainer(change.container)
      case 'remove-container':
        return this.#removeContainer(change.id)
      case 'put-status':
        return this.#putStatus(change.status)
      case 'put-project': {
        const { project } = change
        if (isDeepStrictEqual((this.#projects ?? this.#base.projects).get(project.name), project))
          return
        this.#projects ??= new Map(this.#base.projects)
        this.#projects.set(project.name, project)
        this.#changedProjects.add(project.name)
        return
      }
      case 'remove-project':
        this.#projects ??= new Map(this.#base.projects)
        if (this.#projects.delete(change.name)) this.#changedProjects.add(change.name)
        return
      case 'put-allocation':
        return this.#putAllocation(change.allocation)
      case 'remove-allocation':
        return this.#removeAllocation(change.key)
    }
  }

  finish(): { readonly snapshot: Snapshot; readonly delta: Delta } {
    const base = this.#base
    const delta: Delta = {
      networks: this.#changedNetworks,
      containers: this.#changedContainers,
      projects: this.#changedProjects,
      allocations: this.#changedAllocations,
      affectedNetworks: this.#affected,
    }
    const { networks, containers, projects, allocations } = delta
    const isSame = [networks, containers, projects, allocations].every(({ size }) => size === 0)
    if (isSame) return { snapshot: base, delta }
    return {
      delta,
      snapshot: {
        version: base.version + 1,
        networks: this.#networks ?? base.networks,
        containers: this.#containers ?? base.containers,
        statuses: this.#statuses ?? base.statuses,
        projects: this.#projects ?? base.projects,
        allocations: this.#allocations ?? base.allocations,
        members: this.#members.result,
        joiners: this.#joiners.result,
        replicas: this.#replicas.result,
      },
    }
  }

  #putNetwork(network: Network): void {
    if (isDeepStrictEqual((this.#networks ?? this.#base.networks).get(network.id), network)) return
    this.#networks ??= new Map(this.#base.networks)
    this.#networks.set(network.id, network)
    this.#changedNetworks.add(network.id)
    this.#affected.add(network.id)
  }

  #removeNetwork(id: string): void {
    this.#networks ??= new Map(this.#base.networks)
    if (!this.#networks.delete(id)) return
    this.#changedNetworks.add(id)
    this.#affected.add(id)
  }

  #putContainer(container: Container): void {
    const previous = (this.#containers ?? this.#base.containers).get(container.id)
    if (isDeepStrictEqual(previous, container)) return
    this.#containers ??= new Map(this.#base.containers)
    this.#containers.set(container.id, container)
    this.#moveMembership(container.id, previous, container)
    this.#touch(container.id, previous)
    this.#touch(container.id, container)
  }

  #removeContainer(id: string): void {
    const previous = (this.#containers ?? this.#base.containers).get(id)
    if (previous === undefined) return
    this.#containers ??= new Map(this.#base.containers)
    this.#containers.delete(id)
    this.#statuses ??= new Map(this.#base.statuses)
    this.#statuses.delete(id)
    this.#moveMembership(id, previous, undefined)
    this.#touch(id, previous)
  }

  #putStatus(status: ContainerStatus): void {
    const container = (this.#containers ?? this.#base.containers).get(status.id)
    // A status may arrive after its container went; it would never be removed again.
    if (container === undefined) return
    if (isDeepStrictEqual((this.#statuses ?? this.#base.statuses).get(status.id), status)) return
    this.#statuses ??= new Map(this.#base.statuses)
    this.#statuses.set(status.id, status)
    this.#touch(status.id, container)
  }

  #putAllocation(allocation: Allocation): void {
    const { key, vips } = allocation
    const previous = (this.#allocations ?? this.#base.allocations).get(key)
    if (isDeepStrictEqual(previous, allocation)) return
    this.#allocations ??= new Map(this.#base.allocations)
    this.#allocations.set(key, allocation)
    this.#changedAllocations.add(key)
    for (const id of [...Object.keys(previous?.vips ?? {}), ...Object.keys(vips)]) {
      this.#affected.add(id)
    }
  }

  #removeAllocation(key: string): void {
    const previous = (this.#allocations ?? this.#base.allocations).get(key)
    if (previous === undefined) return
    this.#allocations ??= new Map(this.#base.allocations)
    this.#allocations.delete(key)
    this.#changedAllocations.add(key)
    for (const id of Object.keys(previous.vips)) this.#affected.add(id)
  }

  #touch(id: string, container: Container | undefined): void {
    this.#changedContainers.add(id)
    if (container === undefined) return
    for (const { networkId } of container.endpoints) this.#affected.add(networkId)
    if (container.sandboxOf === undefined) return
    // A joiner answers at its owner's addresses, so its coming and going is news there.
    const owner = (this.#containers ?? this.#base.containers).get(container.sandboxOf)
    for (const { networkId } of owner?.endpoints ?? []) this.#affected.add(networkId)
  }

  #moveMembership(id: string, previous: Container | undefined, next: Container | undefined): void {
    const networksOf = (container: Container | undefined): Set<string> =>
      new Set(container?.endpoints.map(endpoint => endpoint.networkId))
    this.#members.move(id, networksOf(previous), networksOf(next))
    const ownerOf = (container: Container | undefined): Set<string> =>
      new Set(container?.sandboxOf === undefined ? [] : [container.sandboxOf])
    this.#joiners.move(id, ownerOf(previous), ownerOf(next))
    this.#replicas.move(id, serviceOf(previous), serviceOf(next))
  }
}

/** The service that a container is a replica of, as a set of none or one. */
function serviceOf(container: Container | undefined): Set<string> {
  if (container?.project === undefined || container.service === undefined) return new Set()
  return new Set([allocationKey(container.project, container.service)])
}

/** An index from a key to ids, of which only the touched sets are copied, once a draft. */
class IndexDraft {
  readonly #base: ReadonlyMap<string, ReadonlySet<string>>
  #copy: Map<string, ReadonlySet<string>> | undefined
  readonly #own = new Map<string, Set<string>>()

  constructor(base: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#base = base
  }

  get result(): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#copy ?? this.#base
  }

  move(id: string, before: ReadonlySet<string>, after: ReadonlySet<string>): void {
    for (const key of before) if (!after.has(key)) this.#remove(key, id)
    for (const key of after) if (!before.has(key)) this.#set(key).add(id)
  }

  #remove(key: string, id: string): void {
    const set = this.#set(key)
    set.delete(id)
    if (set.size > 0) return
    this.#copy?.delete(key)
    this.#own.delete(key)
  }

  #set(key: string): Set<string> {
    const own = this.#own.get(key)
    if (own !== undefined) return own
    const fresh = new Set(this.result.get(key))
    this.#copy ??= new Map(this.#base)
    this.#copy.set(key, fresh)
    this.#own.set(key, fresh)
    return fresh
  }
}
