/** The catalog as the API shows it. Pure. */

import type { ContainerView, NetworkView, ProjectView } from '../api/contract.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import { givesNames } from '../plan/names.js'
import { orderedEndpoints, type AttachedEndpoint } from '../plan/sandbox.js'

export function viewContainer(snapshot: Snapshot, container: Container): ContainerView {
  const { id, name, project, service, spec, createdAt } = container
  const status = snapshot.statuses.get(id)
  return {
    id,
    name,
    ...(project !== undefined && { project }),
    ...(service !== undefined && { service }),
    state: status?.state ?? 'created',
    health: status?.health ?? 'none',
    ...(status?.readiness && { isReady: status.readiness.isReady }),
    ...(status?.readiness?.isReady === false && { unreadyReason: status.readiness.reason }),
    ...(container.draining && { isDraining: true as const }),
    ...(status?.exitCode !== undefined && { exitCode: status.exitCode }),
    ...(status?.failure !== undefined && { failure: status.failure }),
    ...(status?.process && { pid: status.process.appPid ?? status.process.initPid }),
    restartCount: status?.restartCount ?? 0,
    ...(status?.startedAt !== undefined && { startedAt: status.startedAt }),
    createdAt,
    command: spec.argv,
    networkMode: describeMode(snapshot, container),
    endpoints: ownEndpoints(snapshot, container).map(({ endpoint, network }) => ({
      network: network.name,
      interfaceName: endpoint.interfaceName,
      ...(endpoint.ipv4 !== undefined && { ipv4: endpoint.ipv4 }),
      ...(endpoint.ipv6 !== undefined && { ipv6: endpoint.ipv6 }),
      mac: endpoint.mac,
      aliases: aliasesOf(container, endpoint.aliases, network),
    })),
  }
}

/** A network with who is on it. `bridge` is its link's name where it has one. */
export function viewNetwork(
  snapshot: Snapshot,
  network: Network,
  bridge: string | undefined,
): NetworkView {
  const members = [...(snapshot.members.get(network.id) ?? [])]
  return {
    id: network.id,
    name: network.name,
    driver: network.driver,
    ...(network.project !== undefined && { project: network.project }),
    isInternal: network.isInternal,
    isBuiltin: network.isBuiltin,
    hasNames: givesNames(network),
    ...(bridge !== undefined && { bridge }),
    subnets: network.subnets,
    options: network.options,
    labels: network.labels,
    createdAt: network.createdAt,
    containers: members.flatMap(id => {
      const container = snapshot.containers.get(id)
      const endpoint = container?.endpoints.find(({ networkId }) => networkId === network.id)
      if (!container || !endpoint) return []
      return [
        {
          name: container.name,
          state: snapshot.statuses.get(id)?.state ?? 'created',
          ...(endpoint.ipv4 !== undefined && { ipv4: endpoint.ipv4 }),
          ...(endpoint.ipv6 !== undefined && { ipv6: endpoint.ipv6 }),
          aliases: aliasesOf(container, endpoint.aliases, network),
        },
      ]
    }),
  }
}

export function viewProject(snapshot: Snapshot, project: ProjectSpec): ProjectView {
  const running = new Map<string, number>()
  for (const container of snapshot.containers.values()) {
    if (container.project !== project.name || container.service === undefined) continue
    if (snapshot.statuses.get(container.id)?.state !== 'running') continue
    running.set(container.service, (running.get(container.service) ?? 0) + 1)
  }
  return {
    name: project.name,
    services: project.services.map(({ name, replicas }) => ({
      name,
      replicas,
      running: running.get(name) ?? 0,
    })),
    networks: project.networks.map(({ spec }) => spec.name),
  }
}

/** Without the ingress, which is the mesh's and not the container's. */
function ownEndpoints(snapshot: Snapshot, container: Container): readonly AttachedEndpoint[] {
  return orderedEndpoints(snapshot, container).filter(({ network }) => !network.isIngress)
}

function aliasesOf(container: Container, own: readonly string[], network: Network): string[] {
  const attachment = container.attachments.find(one => one.network === network.name)
  const service = container.service === undefined ? [] : [container.service]
  return [...new Set([...service, ...(attachment?.aliases ?? []), ...own])]
}

function describeMode(snapshot: Snapshot, { spec, sandboxOf }: Container): string {
  if (sandboxOf === undefined) return spec.networkMode.kind
  return `container:${snapshot.containers.get(sandboxOf)?.name ?? sandboxOf.slice(0, 12)}`
}
