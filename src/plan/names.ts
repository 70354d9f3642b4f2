/**
 * What each network offers to name: catalog in, the resolver's plain data out.
 *
 * Decides who is in DNS at all (running, not stopping), under which names, and with which addresses
 * (none before the first `healthy`). Does not decide how a name is answered: that is the resolver's.
 */

import { allocationKey } from '../catalog/allocation.js'
import { replicasOf, type Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import type { ServiceSpec } from '../catalog/service.js'
import { balanceOf, dnsHealthLabel, isGated } from './serving.js'
import type { EndpointNames, NetworkNames, ServiceNames } from '../../resolver/zone.js'

/** Label of a network: `off` takes its names out of DNS, `on` gives the default bridge names. */
export const dnsLabel = 'portolan.dns'
/** Whether containers on this network can ask for names. Docker's default networks give none. */
export function givesNames(network: Network): boolean {
  const label = network.labels[dnsLabel]
  if (network.isIngress) return false
  if (label === 'on' || label === 'off') return label === 'on'
  return !network.isBuiltin
}

/** Everything one network offers. The cost is the number of its members. */
export function networkNames(snapshot: Snapshot, network: Network): NetworkNames {
  const endpoints: EndpointNames[] = []
  for (const id of snapshot.members.get(network.id) ?? []) {
    const names = endpointNames(snapshot, id, network.id)
    if (names !== undefined) endpoints.push(names)
  }
  return {
    name: network.name,
    subnets: network.subnets.map(subnet => subnet.subnet),
    gateways: network.subnets.flatMap(subnet => subnet.gateway ?? []),
    endpoints,
    services: servicesOn(snapshot, network).map(({ project, service }) =>
      serviceNames(snapshot, network, project, service),
    ),
  }
}

/** What one member offers on one network; undefined where it is not in DNS there. */
export function endpointNames(
  snapshot: Snapshot,
  containerId: string,
  networkId: string,
): EndpointNames | undefined {
  const container = snapshot.containers.get(containerId)
  const status = snapshot.statuses.get(containerId)
  const endpoint = container?.endpoints.find(candidate => candidate.networkId === networkId)
  if (!container || !status || !endpoint || status.state !== 'running') return undefined
  return {
    id: endpoint.id,
    name: container.name,
    aliases: [...endpoint.aliases, ...joinerNames(snapshot, container)],
    fallbacks: fallbackNames(container),
    addresses: isGated(container, status) ? [] : addressesOf(endpoint),
    ...(container.project !== undefined && { group: container.project }),
  }
}

/** What one service offers on one network: itself, its aliases and `tasks.*` of both. */
export function serviceNames(
  snapshot: Snapshot,
  network: Network,
  project: string,
  service: ServiceSpec,
): ServiceNames {
  const attachment = service.attachments.find(candidate => candidate.network === network.name)
  return {
    name: service.name,
    aliases: (attachment?.aliases ?? []).filter(alias => !isWildcard(alias)),
    vips: vipsOn(snapshot, network, project, service),
    tasks: tasksOf(snapshot, network, project, service),
    ports: service.ports.map(port => ({
      port: port.target,
      protocol: port.protocol,
      ...(port.name !== undefined && { name: port.name }),
    })),
    group: project,
  }
}

export interface AttachedService {
  readonly project: string
  readonly service: ServiceSpec
}

/** The services attached to a network, with their projects. */
export function servicesOn(snapshot: Snapshot, network: Network): AttachedService[] {
  const found: AttachedService[] = []
  for (const [project, spec] of snapshot.projects) {
    for (const service of spec.services) {
      const isAttached = service.attachments.some(({ network: name }) => name === network.name)
      if (isAttached) found.push({ project, service })
    }
  }
  return found
}

/** Aliases that a replica claims by itself: the service answers the plain ones. */
export function ownAliases(aliases: readonly string[], isOfService: boolean): readonly string[] {
  return isOfService ? aliases.filter(isWildcard) : aliases
}

function isWildcard(alias: string): boolean {
  return alias.startsWith('*.')
}

/** The service's virtual addresses on a network, without prefix length. */
function vipsOn(
  snapshot: Snapshot,
  network: Network,
  project: string,
  service: ServiceSpec,
): readonly string[] {
  const allocation = snapshot.allocations.get(allocationKey(project, service.name))
  const vip = allocation?.vips[network.id]
  return vip === undefined ? [] : addressesOf(vip)
}

function tasksOf(
  snapshot: Snapshot,
  network: Network,
  project: string,
  service: ServiceSpec,
): { readonly endpointId: string }[] {
  const serving: { endpointId: string; isUnhealthy: boolean; isReady: boolean }[] = []
  for (const container of replicasOf(snapshot, project, service.name)) {
    const status = snapshot.statuses.get(container.id)
    const endpoint = container.endpoints.find(candidate => candidate.networkId === network.id)
    if (!endpoint || status?.state !== 'running' || isGated(container, status)) continue
    if (container.draining !== undefined || container.desired === 'removed') continue
    serving.push({
      endpointId: endpoint.id,
      isUnhealthy: status.health === 'unhealthy',
      isReady: status.readiness?.isReady ?? true,
    })
  }
  const isDropping = service.container.labels[dnsHealthLabel] === 'drop'
  const healthy = serving.filter(task => task.isReady && !(isDropping && task.isUnhealthy))
  const chosen = healthy.length > 0 || !balanceOf(service).isPanicking ? healthy : serving
  return chosen.map(({ endpointId }) => ({ endpointId }))
}

function fallbackNames({ id, spec }: Container): string[] {
  const hostname = spec.hostname
  const names = [id.slice(0, 12)]
  if (hostname !== undefined) names.push(hostname)
  if (hostname !== undefined && spec.domainname !== undefined) {
    names.push(`${hostname}.${spec.domainname}`)
  }
  return names
}

/** Names of the containers that share this one's sandbox: they live at its addresses. */
function joinerNames(snapshot: Snapshot, owner: Container): string[] {
  const names: string[] = []
  for (const id of snapshot.joiners.get(owner.id) ?? []) {
    const joiner = snapshot.containers.get(id)
    if (joiner && snapshot.statuses.get(id)?.state === 'running') names.push(joiner.name)
  }
  return names
}

function addressesOf({ ipv4, ipv6 }: Pick<Endpoint, 'ipv4' | 'ipv6'>): string[] {
  return [ipv4, ipv6].flatMap(cidr => cidr?.split('/')[0] ?? [])
}
