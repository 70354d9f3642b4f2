/**
 * The mesh of this node, kept in step with the catalog: the dataplane, which balances what comes to
 * published ports, and the rules of each sandbox, which balance what goes to virtual addresses.
 *
 * A change is committed to the dataplane in the turn of the event loop in which the catalog changed;
 * sandboxes follow, some at a time, so that nobody waits for hundreds of them.
 */

import { isDeepStrictEqual } from 'node:util'
import { Mesh, type Dataplane, type DestinationStats, type Hop } from '../../mesh/index.js'
import {
  emptyState,
  type IngressPlace,
  type MeshState,
  type Protocol,
  type VirtualService,
} from '../../mesh/state.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Delta } from '../catalog/change.js'
import type { Container } from '../catalog/container.js'
import type { Netns } from '../kernel/netns.js'
import { planVirtualServices } from '../plan/mesh.js'
import { serviceKeyOf } from '../plan/serving.js'
import { LoopbackRelay } from './loopback-relay.js'
import type { SandboxMeshes } from './sandbox-meshes.js'

export interface MeshControlOptions {
  readonly sandboxes: SandboxMeshes
  /** Opens the dataplane where replicas are met; called when the first port is published. */
  readonly openDataplane: (place: IngressPlace) => Dataplane
  /** Makes the ingress bridge stand, and says where it is. */
  readonly preparePlace: () => IngressPlace | undefined
  /** Takes away what an earlier daemon left and this one does not take over. Throws KernelError. */
  readonly removeLeft: (isPublishing: boolean) => void
  readonly logger: Logger
}

export class MeshControl {
  readonly #options: MeshControlOptions
  /** Keys of the virtual services of an allocation. */
  readonly #keys = new Map<string, readonly string[]>()
  #services: MeshState = emptyState
  readonly #relay: LoopbackRelay
  #mesh: Mesh | undefined
  #place: IngressPlace | undefined
  /** The commit under way. One that waited takes what is wanted by then. */
  #turn: Promise<void> = Promise.resolve()
  #problem: string | undefined
  /** Of mending what somebody else changed. */
  #mendProblem: string | undefined
  #isClosed = false

  constructor(options: MeshControlOptions) {
    this.#options = options
    this.#relay = new LoopbackRelay(options.logger)
  }

  /** What is wrong now; empty where the last commit went well. */
  problems(): readonly string[] {
    const own = [this.#problem, this.#mendProblem].filter(one => one !== undefined)
    return [...own, ...this.#relay.problems(), ...this.#options.sandboxes.problems()]
  }

  get place(): IngressPlace | undefined {
    return this.#place
  }

  /** The virtual services as they are wanted now. */
  get services(): MeshState {
    return this.#services
  }

  /** Everything, at a daemon's start. Resolves when the kernel has it. */
  async load(snapshot: Snapshot): Promise<void> {
    this.#follow(snapshot, snapshot.allocations.keys())
    this.#options.sandboxes.load(snapshot)
    try {
      this.#options.removeLeft(this.#services.size > 0)
    } catch (error) {
      this.#options.logger.error({}, errorMessage(error))
    }
    this.#commit()
    await this.committed()
  }

  /** Follows a swap of the catalog. */
  update(snapshot: Snapshot, delta: Delta, previous: Snapshot): void {
    const touched = touchedServices(snapshot, delta, previous)
    const isChanged = this.#follow(snapshot, touched)
    this.#options.sandboxes.update(snapshot, delta, touched)
    if (!isChanged) return
    // A port that is published anew has to be known in sandboxes before anything arrives there.
    this.#commit(delta.allocations.size > 0 ? this.#options.sandboxes.settled() : undefined)
  }

  /** Resolves when the kernel sends connections as the catalog says now. */
  async committed(): Promise<void> {
    await this.#turn
    await this.#options.sandboxes.settled()
  }

  /** What a sandbox needs before its program starts: written when this returns. Throws KernelError. */
  openSandbox(container: Container, netns: Netns): void {
    this.#options.sandboxes.open(container, netns)
  }

  adoptSandbox(container: Container, netns: Netns): void {
    this.#options.sandboxes.adopt(container, netns)
  }

  closeSandbox(containerId: string): void {
    this.#options.sandboxes.close(containerId)
  }

  restoreSandbox(containerId: string): void {
    this.#options.sandboxes.restore(containerId)
  }

  /** Compares everything with the kernel and mends what differs. Rejects with the first failure. */
  async reconcileAll(): Promise<void> {
    // What failed is tried again: the dataplane itself only knows what it was brought to last.
    this.#commit()
    await this.#turn
    const failures: unknown[] = []
    try {
      if (this.#mesh !== undefined) await this.#mesh.reconcile()
      this.#mendProblem = undefined
    } catch (error) {
      failures.push(error)
    }
    await this.#options.sandboxes.reconcileAll()
    if (failures.length > 0) throw failures[0]
  }

  async stats(): Promise<readonly DestinationStats[]> {
    return (await this.#mesh?.stats()) ?? []
  }

  /** The way of a new connection to one port of a virtual service. */
  async trace(key: string, protocol: Protocol, port: number): Promise<readonly Hop[]> {
    const service = this.#mesh?.state.get(key)
    if (this.#mesh === undefined || service === undefined) return []
    const ports = service.ports.filter(
      one => one.protocol === protocol && one.first <= port && port <= one.last,
    )
    return this.#mesh.dataplane.trace({ ...service, ports })
  }

  /** Lets go; the kernel goes on balancing. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#turn
    await this.#relay.close()
    await this.#mesh?.close()
    this.#options.sandboxes.release()
  }

  /** Returns whether a virtual service differs now. Those that do not stay the same objects. */
  #follow(snapshot: Snapshot, keys: Iterable<string>): boolean {
    let next: Map<string, VirtualService> | undefined
    for (const key of keys) {
      const allocation = snapshot.allocations.get(key)
      const planned = allocation === undefined ? [] : planVirtualServices(snapshot, allocation)
      const wanted = new Set(planned.map(service => service.key))
      for (const stale of this.#keys.get(key) ?? []) {
        if (!wanted.has(stale)) (next ??= new Map(this.#services)).delete(stale)
      }
      for (const service of planned) {
        if (isDeepStrictEqual(this.#services.get(service.key), service)) continue
        ;(next ??= new Map(this.#services)).set(service.key, service)
      }
      if (wanted.size > 0) this.#keys.set(key, [...wanted])
      else this.#keys.delete(key)
    }
    if (next === undefined) return false
    this.#services = next
    return true
  }

  #commit(before?: Promise<void>): void {
    this.#turn = this.#turn
      .then(() => before)
      .then(() => this.#apply(this.#services))
      .then(
        () => (this.#problem = undefined),
        (error: unknown) => {
          this.#problem = `Published ports are not as declared: ${errorMessage(error)}`
          this.#options.logger.error({}, this.#problem)
        },
      )
      .then(() => undefined)
  }

  async #apply(services: MeshState): Promise<void> {
    if (this.#isClosed) return
    if (services.size === 0) {
      await this.#relay.follow(services)
      await this.#mesh?.remove()
      this.#mesh = undefined
      this.#place = undefined
      return
    }
    if (this.#mesh === undefined) this.#mesh = await this.#open(services)
    else await this.#mesh.update(services)
    // A proxy of its own already.
    if (this.#mesh?.dataplane.kind !== 'userspace') await this.#relay.follow(services)
  }

  /** Adopts what an earlier daemon left in the kernel. */
  async #open(services: MeshState): Promise<Mesh | undefined> {
    const { preparePlace, openDataplane, logger } = this.#options
    const place = preparePlace()
    if (place === undefined) return undefined
    this.#place = place
    return Mesh.open({
      dataplane: openDataplane(place),
      services,
      onError: error => {
        this.#mendProblem = `Published ports could not be mended: ${errorMessage(error)}`
        logger.error({}, this.#mendProblem)
      },
      onMended: differences => {
        this.#mendProblem = undefined
        logger.warn(
          {},
          `Somebody changed ${differences} of our rules for published ports; they are back`,
        )
      },
    })
  }
}

/** Keys of the services that a swap may have changed. */
function touchedServices(snapshot: Snapshot, delta: Delta, previous: Snapshot): Set<string> {
  const touched = new Set(delta.allocations)
  for (const id of delta.containers) {
    for (const container of [previous.containers.get(id), snapshot.containers.get(id)]) {
      const key = container && serviceKeyOf(container)
      if (key !== undefined && hasAllocation(key)) touched.add(key)
    }
  }
  for (const project of delta.projects) {
    for (const service of snapshot.projects.get(project)?.services ?? []) {
      const key = `${project}/${service.name}`
      if (hasAllocation(key)) touched.add(key)
    }
  }
  return touched

  function hasAllocation(key: string): boolean {
    return snapshot.allocations.has(key) || previous.allocations.has(key)
  }
}
