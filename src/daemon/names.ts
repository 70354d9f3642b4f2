/**
 * Keeps the resolver's zones and views in step with the catalog, change by change, within the turn
 * of the event loop in which the catalog changed.
 */

import type { ForwardPolicy } from '../../resolver/forward/policy.js'
import { compileManaged, compileView, type ManagedSpace, type View } from '../../resolver/view.js'
import {
  compileZone,
  updateZone,
  type EndpointNames,
  type NetworkZone,
  type ZoneChange,
} from '../../resolver/zone.js'
import { allocationKey } from '../catalog/allocation.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Delta } from '../catalog/change.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import {
  endpointNames,
  givesNames,
  networkNames,
  serviceNames,
  servicesOn,
  type AttachedService,
} from '../plan/names.js'
import { planLinks, planSandbox } from '../plan/sandbox.js'
import { serviceKeyOf } from '../plan/serving.js'

/** How one sandbox asks the world. */
export interface Outlook {
  readonly policy: ForwardPolicy
  /** Above 0 where the host or `dns_opt` sets it. */
  readonly ndots?: number
}

/** Where views go: the resolver. */
export interface ViewSink {
  setView(sandboxId: string, view: View): void
}

export class Names {
  readonly #sink: ViewSink
  readonly #zones = new Map<string, NetworkZone>()
  readonly #outlooks = new Map<string, Outlook>()
  #managed: ManagedSpace = compileManaged({ networks: [] })

  constructor(sink: ViewSink) {
    this.#sink = sink
  }

  /** Compiles everything, at a daemon's start. */
  load(snapshot: Snapshot): void {
    this.#updateManaged(snapshot)
    for (const network of snapshot.networks.values()) {
      if (!givesNames(network)) continue
      this.#zones.set(network.id, compileZone(networkNames(snapshot, network)))
    }
  }

  /** Follows a swap of the catalog. */
  update(snapshot: Snapshot, delta: Delta, previous: Snapshot): void {
    if (delta.networks.size > 0) this.#updateManaged(snapshot)
    const affected = new Set([...delta.affectedNetworks, ...networksOf(delta, snapshot, previous)])
    for (const id of affected) this.#updateZone(id, { snapshot, delta, previous })
    // A new or lost network changes what every other sandbox must not forward.
    const containers = new Set(delta.networks.size > 0 ? this.#outlooks.keys() : delta.containers)
    for (const id of affected) {
      for (const member of snapshot.members.get(id) ?? []) containers.add(member)
    }
    for (const id of containers) this.#updateView(snapshot, id)
  }

  /** A sandbox came up, or asks other upstreams now. Returns its view. */
  setOutlook(snapshot: Snapshot, container: Container, outlook: Outlook): View {
    this.#outlooks.set(container.id, outlook)
    return this.viewOf(snapshot, container, outlook)
  }

  /** The sandbox is gone. */
  removeOutlook(containerId: string): void {
    this.#outlooks.delete(containerId)
  }

  viewOf(snapshot: Snapshot, container: Container, outlook: Outlook): View {
    const plan = planSandbox(snapshot, container)
    const networks = plan.attached.flatMap(({ network }) => this.#zones.get(network.id) ?? [])
    const links = planLinks(snapshot, container).flatMap(({ alias, endpoint, network }) => {
      const zone = this.#zones.get(network.id)
      return zone === undefined ? [] : [{ alias, network: zone, endpointId: endpoint.id }]
    })
    return compileView({
      networks,
      links,
      hostGateways: plan.hostGateways,
      managed: this.#managed,
      hasExternalAccess: plan.hasExternalAccess,
      isDetached: plan.attached.every(({ network }) => network.isIngress === true),
      forwarding: outlook.policy,
      ...(outlook.ndots !== undefined && { ndots: outlook.ndots }),
      ...(container.project !== undefined && { group: container.project }),
    })
  }

  #updateView(snapshot: Snapshot, containerId: string): void {
    const outlook = this.#outlooks.get(containerId)
    const container = snapshot.containers.get(containerId)
    if (!outlook || !container) return
    this.#sink.setView(containerId, this.viewOf(snapshot, container, outlook))
  }

  #updateManaged(snapshot: Snapshot): void {
    const networks = [...snapshot.networks.values()].filter(
      network => !network.isBuiltin || network.isIngress,
    )
    this.#managed = compileManaged({
      networks: networks.map(({ name, subnets }) => ({
        name,
        subnets: subnets.map(({ subnet }) => subnet),
      })),
    })
  }

  #updateZone(networkId: string, swap: Swap): void {
    const { snapshot, delta } = swap
    const network = snapshot.networks.get(networkId)
    if (network === undefined || !givesNames(network)) {
      this.#zones.delete(networkId)
      return
    }
    const zone = this.#zones.get(networkId)
    const next =
      zone === undefined || delta.networks.has(networkId)
        ? compileZone(networkNames(snapshot, network))
        : updateZone(zone, zoneChange(network, swap))
    this.#zones.set(networkId, next)
  }
}

interface Swap {
  readonly snapshot: Snapshot
  readonly delta: Delta
  readonly previous: Snapshot
}

/** What a swap did to the names of one network: its changed members and their services, no more. */
function zoneChange(network: Network, swap: Swap): ZoneChange {
  const { snapshot, delta, previous } = swap
  const endpoints: EndpointNames[] = []
  const removedEndpoints = new Set<string>()
  const touched = new Set<string>()
  for (const id of changedContainers(swap)) {
    const now = snapshot.containers.get(id)
    const before = previous.containers.get(id)
    for (const container of [before, now]) {
      const endpoint = container?.endpoints.find(({ networkId }) => networkId === network.id)
      if (endpoint !== undefined) removedEndpoints.add(endpoint.id)
      if (container !== undefined) touched.add(serviceKeyOf(container) ?? '')
    }
    const names = endpointNames(snapshot, id, network.id)
    if (names === undefined) continue
    removedEndpoints.delete(names.id)
    endpoints.push(names)
  }
  const isTouched = ({ project, service }: AttachedService): boolean =>
    delta.projects.has(project) ||
    delta.allocations.has(allocationKey(project, service.name)) ||
    touched.has(allocationKey(project, service.name))
  const services = servicesOn(snapshot, network).filter(isTouched)
  const kept = new Set(services.map(({ project, service }) => allocationKey(project, service.name)))
  return {
    endpoints,
    removedEndpoints: [...removedEndpoints],
    services: services.map(({ project, service }) =>
      serviceNames(snapshot, network, project, service),
    ),
    removedServices: servicesOn(previous, network)
      .filter(isTouched)
      .filter(({ project, service }) => !kept.has(allocationKey(project, service.name)))
      .map(({ project, service }) => ({ name: service.name, group: project })),
  }
}

/** The containers that changed, and those whose sandbox a changed one shares. */
function changedContainers({ snapshot, delta, previous }: Swap): Set<string> {
  const changed = new Set(delta.containers)
  for (const id of delta.containers) {
    for (const container of [previous.containers.get(id), snapshot.containers.get(id)]) {
      if (container?.sandboxOf !== undefined) changed.add(container.sandboxOf)
    }
  }
  return changed
}

/** The networks that services of changed projects are or were on. */
function networksOf(delta: Delta, snapshot: Snapshot, previous: Snapshot): string[] {
  if (delta.projects.size === 0) return []
  const names = new Set<string>()
  for (const project of delta.projects) {
    for (const { projects } of [previous, snapshot]) {
      for (const service of projects.get(project)?.services ?? []) {
        for (const { network } of service.attachments) names.add(network)
      }
    }
  }
  return [...snapshot.networks.values()].filter(({ name }) => names.has(name)).map(({ id }) => id)
}
