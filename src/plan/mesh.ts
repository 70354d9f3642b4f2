/**
 * What the mesh of this node is to do: catalog in; virtual services, and what each sandbox needs for
 * them, out. Decides which replica is reached where; who takes connections is serving.ts's.
 */

import type { SandboxIngress } from '../../mesh/sandbox/index.js'
import type { IngressPlace, PublishedPort, VirtualService } from '../../mesh/state.js'
import { formatPrefix, parsePrefix } from '../base/ip.js'
import { ipvsMacOf } from '../ipam/index.js'
import type { AllocatedPort, Allocation, Vip } from '../catalog/allocation.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import type { BalanceSpec, PortSpec } from '../catalog/service.js'
import { planSandbox } from './sandbox.js'
import { balanceOf, destinationsOf, findService, serviceKeyOf } from './serving.js'

/** Of the auxiliary address that IPVS's namespace has on the ingress network. */
export const ipvsAddressName = 'ipvs'

/** The virtual services of one service: its ingress ports together, each host-mode port alone. */
export function planVirtualServices(snapshot: Snapshot, allocation: Allocation): VirtualService[] {
  const { key, project, service, mark, ports } = allocation
  const balance = balanceOf(findService(snapshot, project, service))
  const replicas = destinationsOf(snapshot, project, service)
  const name = `${project}/${service}`
  const ingress = ports.filter(({ mode }) => mode === 'ingress')
  const services: VirtualService[] = []
  if (ingress.length > 0) {
    services.push(virtualService({ key, name, mark, ports: ingress, replicas, balance }, snapshot))
  }
  for (const port of ports) {
    if (port.mode !== 'host' || port.mark === undefined) continue
    const own = replicas.filter(({ number }) => number === port.replica)
    const parts = { mark: port.mark, ports: [port], replicas: own, balance }
    const hostKey = `${key}#${port.published}/${port.protocol}`
    services.push(virtualService({ key: hostKey, name, ...parts }, snapshot))
  }
  return services
}

interface ServiceParts {
  readonly key: string
  readonly name: string
  readonly mark: number
  readonly ports: readonly AllocatedPort[]
  readonly replicas: readonly Container[]
  readonly balance: BalanceSpec
}

function virtualService(parts: ServiceParts, snapshot: Snapshot): VirtualService {
  const { key, name, mark, ports, replicas, balance } = parts
  return {
    key,
    name,
    mark,
    ports: mergePorts(ports),
    scheduler: balance.scheduler,
    affinity: balance.affinity,
    ...(balance.proxyProtocol && { proxyProtocol: balance.proxyProtocol }),
    destinations: replicas.flatMap(container => {
      const endpoint = ingressEndpoint(snapshot, container)
      if (endpoint === undefined) return []
      const own = container.endpoints.filter(({ id }) => id !== endpoint.id)
      return [
        {
          id: container.id,
          ...bareAddresses(endpoint),
          weight: balance.weights[String(container.number)] ?? 1,
          ownAddresses: own.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].flatMap(bare)),
        },
      ]
    }),
  }
}

/** The replica's endpoint on the ingress network. */
export function ingressEndpoint(snapshot: Snapshot, container: Container): Endpoint | undefined {
  return container.endpoints.find(
    ({ networkId }) => snapshot.networks.get(networkId)?.isIngress === true,
  )
}

/** Where a replica's own published ports lead inside its sandbox. */
export interface PortTarget {
  readonly protocol: PortSpec['protocol']
  readonly first: number
  readonly last: number
  /** Of `first`; with `offset`, the next port leads to the next target. */
  readonly target: number
  readonly kind: 'offset' | 'single'
}

/** By the replica's own declaration: an older one may listen elsewhere than its successor. */
export function planTargets(allocation: Allocation, container: Container): PortTarget[] {
  const targets = allocation.ports
    .filter(({ replica }) => replica === undefined || replica === container.number)
    .map((port): PortTarget => {
      const own = container.ports.find(
        ({ published, protocol }) => published === port.published && protocol === port.protocol,
      )
      const { protocol, published } = port
      const target = own?.target ?? port.target
      return { protocol, first: published, last: published, target, kind: 'offset' }
    })
  return mergeTargets(targets)
}

/** What a replica's sandbox needs to be reached at published ports; undefined where it is not. */
export function planSandboxIngress(
  snapshot: Snapshot,
  container: Container,
  place: IngressPlace | undefined,
): SandboxIngress | undefined {
  const endpoint = ingressEndpoint(snapshot, container)
  const allocation = allocationOf(snapshot, container)
  if (endpoint === undefined || allocation === undefined || place === undefined) return undefined
  const { attached, gateway4, gateway6 } = planSandbox(snapshot, container)
  const own = attached.filter(({ network }) => !network.isIngress)
  const default4 = bare(gateway4?.endpoint.ipv4)[0]
  const default6 = bare(gateway6?.endpoint.ipv6)[0]
  return {
    interfaceName: endpoint.interfaceName,
    points: [place.host, place.ipvs],
    ingress: {
      ...bareAddresses(endpoint),
      ...(place.subnet4 !== undefined && { subnet4: place.subnet4 }),
      ...(place.subnet6 !== undefined && { subnet6: place.subnet6 }),
    },
    ownSubnets: own.flatMap(({ endpoint: { ipv4, ipv6 } }) =>
      [ipv4, ipv6].flatMap(cidr =>
        cidr === undefined
          ? []
          : [{ subnet: formatPrefix(parsePrefix(cidr)), address: bare(cidr)[0] ?? '' }],
      ),
    ),
    ...(default4 !== undefined && { defaultAddress4: default4 }),
    ...(default6 !== undefined && { defaultAddress6: default6 }),
    targets: planTargets(allocation, container),
  }
}

/** What a sandbox balances by itself: the services of the networks it is on. */
export interface PlannedVip {
  readonly key: string
  readonly name: string
  readonly vip4?: string
  readonly vip6?: string
  readonly scheduler: BalanceSpec['scheduler']
  readonly affinity: BalanceSpec['affinity']
  readonly destinations: readonly {
    readonly id: string
    readonly ipv4?: string
    readonly ipv6?: string
    readonly weight: number
  }[]
}

/** The virtual addresses of one network, in the order of their services' keys. */
export function planVips(snapshot: Snapshot, networkId: string): PlannedVip[] {
  const planned: PlannedVip[] = []
  for (const allocation of snapshot.allocations.values()) {
    const vip = planVip(snapshot, allocation, networkId)
    if (vip !== undefined) planned.push(vip)
  }
  return planned.sort((a, b) => (a.key < b.key ? -1 : 1))
}

/** The virtual address of one service on one network; undefined where it has none there. */
export function planVip(
  snapshot: Snapshot,
  allocation: Allocation,
  networkId: string,
): PlannedVip | undefined {
  const { key, project, service } = allocation
  const vip = allocation.vips[networkId]
  if (vip === undefined) return undefined
  const balance = balanceOf(findService(snapshot, project, service))
  const { vip4, vip6 } = bareVip(vip)
  return {
    key: `${key}@${networkId}`,
    name: `${project}/${service}`,
    ...(vip4 !== undefined && { vip4 }),
    ...(vip6 !== undefined && { vip6 }),
    scheduler: balance.scheduler,
    affinity: balance.affinity,
    destinations: destinationsOf(snapshot, project, service).flatMap(container => {
      const endpoint = container.endpoints.find(one => one.networkId === networkId)
      if (endpoint === undefined) return []
      const weight = balance.weights[String(container.number)] ?? 1
      return [{ id: container.id, ...bareAddresses(endpoint), weight }]
    }),
  }
}

/** The allocation of the service that a container is a replica of. */
export function allocationOf(snapshot: Snapshot, container: Container): Allocation | undefined {
  return snapshot.allocations.get(serviceKeyOf(container) ?? '')
}

/** Where replicas meet the mesh; undefined while nobody publishes anything. */
export function planIngressPlace(
  network: Network,
  bridge: { readonly name: string; readonly mac: string },
  ipvsLink: string,
): IngressPlace {
  const subnets = { 4: subnetOf(network, 4), 6: subnetOf(network, 6) }
  const ipv4 = subnets[4]?.gateway
  const ipv6 = subnets[6]?.gateway
  const ipvs4 = subnets[4]?.auxAddresses[ipvsAddressName]
  const ipvs6 = subnets[6]?.auxAddresses[ipvsAddressName]
  return {
    bridge: bridge.name,
    ipvsLink,
    ...(subnets[4] && { subnet4: subnets[4].subnet }),
    ...(subnets[6] && { subnet6: subnets[6].subnet }),
    host: { id: 1, mac: bridge.mac, ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) },
    ipvs: {
      id: 2,
      mac: ipvsMacOf(bridge.mac),
      ...(ipvs4 && { ipv4: ipvs4 }),
      ...(ipvs6 && { ipv6: ipvs6 }),
    },
  }
}

function subnetOf(network: Network, family: 4 | 6): Network['subnets'][number] | undefined {
  return network.subnets.find(({ subnet }) => subnet.includes(':') === (family === 6))
}

/** Neighbouring ports of one protocol and address as one range: few elements in the kernel. */
function mergePorts(ports: readonly AllocatedPort[]): PublishedPort[] {
  const merged: PublishedPort[] = []
  for (const { protocol, published, hostAddress: address } of [...ports].sort(byPort)) {
    const last = merged.at(-1)
    const isNext =
      last?.protocol === protocol && last.address === address && published === last.last + 1
    if (isNext) merged[merged.length - 1] = { ...last, last: published }
    else {
      const where = address === undefined ? {} : { address }
      merged.push({ protocol, first: published, last: published, ...where })
    }
  }
  return merged
}

function byPort(a: AllocatedPort, b: AllocatedPort): number {
  const order = (one: AllocatedPort): string => `${one.protocol} ${one.hostAddress ?? ''}`
  if (order(a) !== order(b)) return order(a) < order(b) ? -1 : 1
  return a.published - b.published
}

function mergeTargets(targets: readonly PortTarget[]): PortTarget[] {
  const merged: PortTarget[] = []
  const sorted = [...targets].sort((a, b) =>
    a.protocol === b.protocol ? a.first - b.first : a.protocol < b.protocol ? -1 : 1,
  )
  for (const one of sorted) {
    const last = merged.at(-1)
    const isNeighbour = last?.protocol === one.protocol && one.first === last.last + 1
    const isSingle = last?.first === last?.last || last?.kind === 'single'
    const distance = last === undefined ? 0 : one.first - last.first
    // The same one at two addresses of the host.
    if (last?.protocol === one.protocol && one.first === last.last) continue
    if (isNeighbour && last.target + distance === one.target && last.kind === 'offset') {
      merged[merged.length - 1] = { ...last, last: one.last }
    } else if (isNeighbour && isSingle && last.target === one.target) {
      merged[merged.length - 1] = { ...last, last: one.last, kind: 'single' }
    } else merged.push(one)
  }
  return merged
}

function bareAddresses({ ipv4, ipv6 }: Pick<Endpoint, 'ipv4' | 'ipv6'>): {
  ipv4?: string
  ipv6?: string
} {
  const [v4] = bare(ipv4)
  const [v6] = bare(ipv6)
  return { ...(v4 !== undefined && { ipv4: v4 }), ...(v6 !== undefined && { ipv6: v6 }) }
}

function bareVip({ ipv4, ipv6 }: Vip): { vip4: string | undefined; vip6: string | undefined } {
  return { vip4: bare(ipv4)[0], vip6: bare(ipv6)[0] }
}

function bare(cidr: string | undefined): string[] {
  const address = cidr?.split('/')[0]
  return address === undefined ? [] : [address]
}
