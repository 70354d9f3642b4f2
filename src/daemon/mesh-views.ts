/** Services and the mesh as the API shows them. Pure. */

import type { DestinationStats, Hop } from '../../mesh/index.js'
import type {
  MeshPortView,
  MeshReplicaView,
  PublishedPortView,
  ServiceView,
  TraceReply,
} from '../api/contract.js'
import type { AllocatedPort, Allocation } from '../catalog/allocation.js'
import { replicasOf, type Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import { ingressEndpoint, planTargets } from '../plan/mesh.js'
import {
  balanceOf,
  destinationsOf,
  findService,
  whyNotReady,
  whyNotServing,
} from '../plan/serving.js'

export function viewServices(snapshot: Snapshot): ServiceView[] {
  return [...snapshot.allocations.values()]
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(allocation => viewService(snapshot, allocation))
}

function viewService(snapshot: Snapshot, allocation: Allocation): ServiceView {
  const { project, service: name } = allocation
  const service = findService(snapshot, project, name)
  const balance = balanceOf(service)
  const replicas = replicasOf(snapshot, project, name)
  const serving = replicas.filter(
    one => whyNotServing(one, snapshot.statuses.get(one.id)) === undefined,
  )
  return {
    project,
    name,
    endpointMode: Object.keys(allocation.vips).length > 0 ? 'vip' : 'dnsrr',
    vips: viewVips(snapshot, allocation),
    ports: allocation.ports.map(port => viewPort(snapshot, allocation, port)),
    replicas: {
      wanted: service?.replicas ?? 0,
      running: replicas.filter(({ id }) => snapshot.statuses.get(id)?.state === 'running').length,
      ready: serving.filter(({ id }) => whyNotReady(snapshot.statuses.get(id)) === undefined)
        .length,
    },
    scheduler: balance.scheduler,
    affinity: balance.affinity.kind,
    ...(balance.affinity.kind === 'client-ip' && {
      affinityTimeoutSeconds: balance.affinity.timeoutSeconds,
    }),
    drainSeconds: balance.drainMs / 1000,
  }
}

function viewVips(snapshot: Snapshot, { vips }: Allocation): ServiceView['vips'] {
  return Object.entries(vips).map(([id, { ipv4, ipv6 }]) => ({
    network: snapshot.networks.get(id)?.name ?? id.slice(0, 12),
    ...(ipv4 !== undefined && { ipv4: bare(ipv4) }),
    ...(ipv6 !== undefined && { ipv6: bare(ipv6) }),
  }))
}

function viewPort(
  snapshot: Snapshot,
  { project, service }: Allocation,
  port: AllocatedPort,
): PublishedPortView {
  const { published, target, protocol, mode, hostAddress, replica } = port
  const container = replicasOf(snapshot, project, service).find(one => one.number === replica)
  return {
    published,
    target,
    protocol,
    mode,
    ...(hostAddress !== undefined && { hostAddress }),
    ...(container && { container: container.name }),
  }
}

/** Published port -> virtual address -> replicas, with what the dataplane counted. */
export function viewMesh(snapshot: Snapshot, stats: readonly DestinationStats[]): MeshPortView[] {
  const byReplica = sumStats(stats)
  return [...snapshot.allocations.values()]
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .flatMap(allocation =>
      allocation.ports.map((port): MeshPortView => {
        const { project, service } = allocation
        const addresses = viewVips(snapshot, allocation).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
        return {
          ...viewPort(snapshot, allocation, port),
          project,
          service,
          vips: addresses.filter(address => address !== undefined),
          scheduler: balanceOf(findService(snapshot, project, service)).scheduler,
          replicas: replicasOf(snapshot, project, service)
            .filter(({ number }) => port.replica === undefined || port.replica === number)
            .map(container => viewReplica(snapshot, container, byReplica.get(container.id))),
        }
      }),
    )
}

interface Sum {
  readonly activeConnections: number
  readonly inBytes: bigint | undefined
  readonly outBytes: bigint | undefined
}

/** A replica may be a destination of several virtual services: ingress, and ports in host mode. */
function sumStats(stats: readonly DestinationStats[]): ReadonlyMap<string, Sum> {
  const sums = new Map<string, Sum>()
  const add = (a: bigint | undefined, b: bigint | undefined): bigint | undefined =>
    a === undefined ? b : a + (b ?? 0n)
  for (const { destinationId, activeConnections, inBytes, outBytes } of stats) {
    const known = sums.get(destinationId)
    sums.set(destinationId, {
      activeConnections: (known?.activeConnections ?? 0) + activeConnections,
      inBytes: add(known?.inBytes, inBytes),
      outBytes: add(known?.outBytes, outBytes),
    })
  }
  return sums
}

function viewReplica(
  snapshot: Snapshot,
  container: Container,
  sum: Sum | undefined,
): MeshReplicaView {
  const { project = '', service = '' } = container
  const status = snapshot.statuses.get(container.id)
  const keptAway = whyNotServing(container, status)
  const unready = whyNotReady(status)
  const isServing = destinationsOf(snapshot, project, service).some(({ id }) => id === container.id)
  const state = keptAway ?? (unready === undefined ? 'ready' : 'unready')
  const isPanic = isServing && unready !== undefined
  const reason = isPanic ? `${unready}; serves since none is ready` : unready
  const weights = balanceOf(findService(snapshot, project, service)).weights
  return {
    name: container.name,
    weight: weights[String(container.number)] ?? 1,
    state,
    isServing,
    ...(keptAway === undefined && reason !== undefined && { reason }),
    activeConnections: sum?.activeConnections ?? 0,
    ...(sum?.inBytes !== undefined && { inBytes: sum.inBytes.toString() }),
    ...(sum?.outBytes !== undefined && { outBytes: sum.outBytes.toString() }),
  }
}

/** The published port that somebody asks about. Throws CatalogError `CATALOG_NOT_FOUND`. */
export function findPublished(
  snapshot: Snapshot,
  port: number,
  protocol: string | undefined,
): { readonly allocation: Allocation; readonly port: AllocatedPort; readonly key: string } {
  for (const allocation of snapshot.allocations.values()) {
    for (const one of allocation.ports) {
      if (one.published !== port || (protocol ?? one.protocol) !== one.protocol) continue
      const isHost = one.mode === 'host'
      const key = isHost ? `${allocation.key}#${port}/${one.protocol}` : allocation.key
      return { allocation, port: one, key }
    }
  }
  const ports = [...snapshot.allocations.values()].flatMap(one => one.ports)
  const known = ports.map(({ published, protocol: name }) => `${published}/${name}`).join(', ')
  const asked = protocol === undefined ? `${port}` : `${port}/${protocol}`
  throw new CatalogError(
    'CATALOG_NOT_FOUND',
    `Port ${asked} is not published here; published: ${known === '' ? 'none' : known}`,
  )
}

/** The dataplane's hops, and what the sandbox does with what arrives. */
export function viewTrace(
  snapshot: Snapshot,
  found: ReturnType<typeof findPublished>,
  hops: readonly Hop[],
  keepsClient: boolean,
): TraceReply {
  const { allocation, port } = found
  const { project, service } = allocation
  const all = replicasOf(snapshot, project, service).filter(
    ({ number }) => port.replica === undefined || port.replica === number,
  )
  const views = all.map(one => ({ one, view: viewReplica(snapshot, one, undefined) }))
  const inside = views
    .filter(({ view }) => view.isServing)
    .map(({ one }) => ({
      where: `sandbox of ${one.name}`,
      what: describeArrival(snapshot, found, one, keepsClient),
    }))
  const outside = views
    .filter(({ view }) => !view.isServing)
    .map(({ view }) => ({
      where: view.name,
      what: `gets no new connection: ${view.reason ?? view.state}`,
    }))
  return {
    port: port.published,
    protocol: port.protocol,
    service: allocation.key,
    hops: [...hops.map(hop => withNames(all, hop)), ...inside, ...outside],
  }
}

/** The dataplane knows replicas by their ids. */
function withNames(replicas: readonly Container[], { where, what }: Hop): Hop {
  const named = (text: string): string =>
    replicas.reduce((known, { id, name }) => known.replaceAll(id, name), text)
  return { where: named(where), what: named(what) }
}

function describeArrival(
  snapshot: Snapshot,
  { allocation, port }: ReturnType<typeof findPublished>,
  container: Container,
  keepsClient: boolean,
): string {
  const endpoint = ingressEndpoint(snapshot, container)
  const address = bare(endpoint?.ipv4 ?? endpoint?.ipv6 ?? '')
  const range = planTargets(allocation, container).find(
    ({ protocol, first, last }) =>
      protocol === port.protocol && first <= port.published && port.published <= last,
  )
  const offset = range?.kind === 'offset' ? port.published - range.first : 0
  const whose = keepsClient ? "the client's own address" : "the host's address"
  const target = (range?.target ?? port.target) + offset
  return `arrives at ${address} (${endpoint?.interfaceName ?? '-'}) with ${whose}, is led to port ${target}; replies go back to where it came from`
}

function bare(cidr: string): string {
  return cidr.split('/')[0] ?? cidr
}
