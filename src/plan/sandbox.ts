/**
 * What one sandbox is attached to, in which order, and how it leaves: catalog in, data out.
 *
 * Docker's order of endpoints decides both the default route and whose name wins, so it is decided
 * once, here (moby libnetwork sandbox.go, `Endpoint.Less`).
 */

import type { Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import { sortAttachments } from '../../resolver/order.js'
import { givesNames } from './names.js'

export interface AttachedEndpoint {
  readonly endpoint: Endpoint
  readonly network: Network
}

export interface SandboxPlan {
  /** Docker's order: the first one that has a name answers it. */
  readonly attached: readonly AttachedEndpoint[]
  /** The endpoint whose gateway is the IPv4 default route. */
  readonly gateway4?: AttachedEndpoint
  readonly gateway6?: AttachedEndpoint
  /** Addresses of the host as this sandbox reaches it; none where nothing leaves it. */
  readonly hostGateways: readonly string[]
  /** False: on internal networks only, or on none. */
  readonly hasExternalAccess: boolean
  /** Whether a resolver listens at 127.0.0.11. */
  readonly hasResolver: boolean
}

/** A name of another container that only this one uses, and whom it means. */
export interface LinkTarget {
  readonly alias: string
  readonly container: Container
  readonly endpoint: Endpoint
  readonly network: Network
}

export function planSandbox(snapshot: Snapshot, container: Container): SandboxPlan {
  const attached = orderedEndpoints(snapshot, container)
  const gateway4 = attached.find(({ network }) => gatewayOf(network, 4) !== undefined)
  const gateway6 = attached.find(({ network }) => gatewayOf(network, 6) !== undefined)
  return {
    attached,
    ...(gateway4 && { gateway4 }),
    ...(gateway6 && { gateway6 }),
    hostGateways: [
      ...(gateway4 ? [gatewayOf(gateway4.network, 4)] : []),
      ...(gateway6 ? [gatewayOf(gateway6.network, 6)] : []),
    ].filter(address => address !== undefined),
    hasExternalAccess: gateway4 !== undefined || gateway6 !== undefined,
    hasResolver:
      attached.every(({ network }) => network.isIngress) ||
      attached.some(({ network }) => givesNames(network)),
  }
}

/** The endpoints of a container in Docker's order of lookup. */
export function orderedEndpoints(
  snapshot: Snapshot,
  container: Container,
): readonly AttachedEndpoint[] {
  const attachments = container.endpoints.flatMap(endpoint => {
    const network = snapshot.networks.get(endpoint.networkId)
    if (network === undefined) return []
    return [
      {
        attached: { endpoint, network },
        networkName: network.name,
        gatewayPriority: endpoint.gatewayPriority,
        isInternal: network.isInternal,
        hasIpv4Gateway: gatewayOf(network, 4) !== undefined,
        hasIpv6Gateway: gatewayOf(network, 6) !== undefined,
      },
    ]
  })
  return sortAttachments(attachments).map(({ attached }) => attached)
}

/** The address through which a network leaves the host; undefined for an internal one. */
export function gatewayOf(network: Network, family: 4 | 6): string | undefined {
  if (network.isInternal) return undefined
  return network.subnets
    .map(subnet => subnet.gateway)
    .find(gateway => gateway !== undefined && gateway.includes(':') === (family === 6))
}

/** Whom the links of `container` mean now, on every network both are on. */
export function planLinks(snapshot: Snapshot, container: Container): LinkTarget[] {
  const own = new Set(container.endpoints.map(endpoint => endpoint.networkId))
  return container.spec.links.flatMap(link =>
    linkedContainers(snapshot, container, link.target, link.isExternal).flatMap(target =>
      target.endpoints.flatMap(endpoint => {
        const network = snapshot.networks.get(endpoint.networkId)
        if (network === undefined || !own.has(network.id)) return []
        return [{ alias: link.alias, container: target, endpoint, network }]
      }),
    ),
  )
}

function linkedContainers(
  snapshot: Snapshot,
  container: Container,
  target: string,
  isExternal: boolean,
): Container[] {
  const found: Container[] = []
  for (const candidate of snapshot.containers.values()) {
    if (snapshot.statuses.get(candidate.id)?.state !== 'running') continue
    const isReplica =
      !isExternal && candidate.project === container.project && candidate.service === target
    if (isReplica || candidate.name === target) found.push(candidate)
  }
  return found
}
