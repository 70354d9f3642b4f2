/**
 * What a project file becomes in the catalog: checked against what is there, with subnets and addresses,
 * written in one transaction. Starts and stops nothing.
 */

import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Allocation } from '../catalog/allocation.js'
import { findNetwork, type Snapshot } from '../catalog/catalog.js'
import type { Change } from '../catalog/change.js'
import { CatalogError, checkEntityName } from '../catalog/check.js'
import { initialStatus, type Container } from '../catalog/container.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { Attachment, ServiceSpec } from '../catalog/service.js'
import type { HostPort } from '../ipam/index.js'
import type { PlannedReplica, ProjectPlan } from '../plan/project.js'
import type { AddressDraft, Addresses } from './addresses.js'
import { requireContainer } from './find.js'
import { lostVips, planAllocations, type PlannedAllocations } from './allocations.js'
import { ingressNetworkName, type Networks } from './networks.js'
import type { State } from './state.js'

export interface DeclarationOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly networks: Networks
  readonly mesh: MeshDeclaration
}

/** What the mesh has to say to a declaration before it is written. */
export interface MeshDeclaration {
  /** Who of the host's own programs has a port, as it is now. */
  listenerFinder(): (port: HostPort) => string | undefined
  /** Throws what the dataplane or a probe cannot do of what `service` asks for. */
  check(service: ServiceSpec): void
}

/** Where endpoints come from. */
interface Leases {
  readonly find: (name: string) => Network
  readonly draft: AddressDraft
  /** Endpoints of the containers that go with the same change. */
  readonly leaving: readonly Endpoint[]
}

interface Drafted {
  readonly networks: readonly Network[]
  readonly draft: AddressDraft
  readonly containers: readonly Container[]
  readonly allocations: PlannedAllocations
}

export class ProjectDeclaration {
  readonly #options: DeclarationOptions

  constructor(options: DeclarationOptions) {
    this.#options = options
  }

  /**
   * Leases and writes everything of `plan`; of the containers that go, those not in `rolled` are marked,
   * none removed. Returns the new ones. Where anything is refused nothing is written, and the leases are given back.
   */
  async write(
    spec: ProjectSpec,
    plan: ProjectPlan,
    goners: readonly Container[],
    rolled: ReadonlySet<string>,
  ): Promise<readonly Container[]> {
    const { state, addresses } = this.#options
    const drafted = this.#draft(spec, plan, goners)
    const before = [...state.snapshot.allocations.values()].filter(
      ({ project }) => project === spec.name,
    )
    try {
      await state.declare(
        [
          ...drafted.networks.map((network): Change => ({ op: 'put-network', network })),
          ...goners.filter(({ id }) => !rolled.has(id)).map(removal),
          ...drafted.containers.flatMap(declaration),
          ...keptPorts(spec, plan),
          ...drafted.allocations.put.map(putAllocation),
          ...drafted.allocations.remove.map(removeAllocation),
          { op: 'put-project', project: spec },
        ],
        addresses.cursors(drafted.draft.networkIds),
      )
      for (const old of before) {
        addresses.releaseVips(lostVips(old, state.snapshot.allocations.get(old.key)))
      }
      return drafted.containers
    } catch (error) {
      this.#giveBack(drafted)
      throw error
    }
  }

  /** Throws what `write` would refuse, and keeps nothing. */
  rehearse(spec: ProjectSpec, plan: ProjectPlan, goners: readonly Container[]): void {
    this.#giveBack(this.#draft(spec, plan, goners))
  }

  #draft(spec: ProjectSpec, plan: ProjectPlan, goners: readonly Container[]): Drafted {
    const { state, addresses, mesh } = this.#options
    const networks = this.#resolveNetworks(spec, plan)
    const draft = addresses.draft()
    try {
      const find = networkFinder(state.snapshot, networks)
      const leaving = goners.flatMap(({ endpoints }) => endpoints)
      const leases: Leases = { find, draft, leaving }
      const containers = this.#buildContainers(spec, plan, leases)
      const { snapshot } = state
      const listenerAt = mesh.listenerFinder()
      const allocations = planAllocations(spec, { snapshot, draft, find, listenerAt })
      return { networks, draft, containers, allocations }
    } catch (error) {
      this.#giveBack({ networks, draft })
      throw error
    }
  }

  #giveBack({ networks, draft }: Pick<Drafted, 'networks' | 'draft'>): void {
    draft.rollback()
    for (const network of networks) this.#options.addresses.forget(network.id)
  }

  /** What the catalog refuses: names that others have, networks that are not there. */
  check(spec: ProjectSpec, plan: ProjectPlan): void {
    const { snapshot } = this.#options.state
    checkEntityName('project', spec.name)
    for (const service of spec.services) this.#options.mesh.check(service)
    for (const { spec: network, isExternal } of spec.networks) {
      const found = [...snapshot.networks.values()].find(({ name }) => name === network.name)
      if (isExternal && found === undefined) {
        throw new CatalogError(
          'CATALOG_NOT_FOUND',
          `Network "${network.name}" is external and not there; \`portolan network create ${network.name}\` makes it`,
        )
      }
      if (!isExternal && found !== undefined && found.project !== spec.name) {
        throw new CatalogError(
          'CATALOG_NAME_IN_USE',
          `Network "${network.name}" is there and not of project "${spec.name}"; declare it external or give it another name`,
        )
      }
    }
    const replaced = new Set(plan.create.flatMap(({ replaces }) => replaces?.id ?? []))
    const names = new Map([...snapshot.containers.values()].map(one => [one.name, one]))
    for (const { name } of plan.create) {
      checkEntityName('container', name)
      const holder = names.get(name)
      if (holder === undefined || replaced.has(holder.id)) continue
      if (holder.desired === 'removed') continue
      throw new CatalogError(
        'CATALOG_NAME_IN_USE',
        `Container name "${name}" is taken by ${describeOwner(holder)}; rename or remove that one`,
      )
    }
  }

  /** The networks that `plan` makes, subnets chosen, nothing stored. */
  #resolveNetworks(spec: ProjectSpec, plan: ProjectPlan): Network[] {
    const except = new Set(plan.replaceNetworks.map(({ old }) => old.id))
    const resolved: Network[] = []
    const wanted = [...plan.createNetworks, ...plan.replaceNetworks.map(({ network }) => network)]
    for (const { spec: network, key } of wanted) {
      const project = { name: spec.name, key }
      resolved.push(this.#options.networks.resolve(network, { project, also: resolved, except }))
    }
    // After the project's own: those keep the subnets that they would have without it.
    if (spec.services.some(publishes)) resolved.push(...this.#options.networks.ingress(resolved))
    return resolved
  }

  #buildContainers(spec: ProjectSpec, plan: ProjectPlan, leases: Leases): Container[] {
    const built: Container[] = []
    for (const replica of inLeaseOrder(plan.create)) {
      const others = [...plan.keep, ...built]
      built.push(this.#buildContainer(spec, replica, others, leases))
    }
    return plan.create.flatMap(({ name }) => built.find(container => container.name === name) ?? [])
  }

  #buildContainer(
    spec: ProjectSpec,
    replica: PlannedReplica,
    others: readonly Container[],
    { find, draft, leaving }: Leases,
  ): Container {
    const { service, number, name, digest, replaces } = replica
    const id = randomBytes(32).toString('hex')
    const holder = { containerId: id, containerName: name, isOfService: true }
    const attachments = effectiveAttachments(service)
    // It stands beside the one it replaces, so it needs addresses of its own.
    const isBeside = service.update?.order === 'start-first'
    const endpoints = attachments.map((attachment, index): Endpoint => {
      const network = find(attachment.network)
      const inherited = isBeside
        ? undefined
        : replaces?.endpoints.find(({ networkId }) => networkId === network.id)
      return draft.lease(holder, network, attachment, `eth${index}`, inherited, leaving)
    })
    if (publishes(service)) {
      const ingress = find(ingressNetworkName)
      const inherited = isBeside
        ? undefined
        : replaces?.endpoints.find(({ networkId }) => networkId === ingress.id)
      endpoints.push(draft.lease(holder, ingress, ingressAttachment, 'ingress0', inherited))
    }
    const sandboxOf = this.#sandboxOwner(spec, service, number, others)
    return {
      id,
      name,
      project: spec.name,
      service: service.name,
      number,
      spec: service.container,
      attachments,
      ports: service.ports,
      digest,
      endpoints,
      ...(sandboxOf !== undefined && { sandboxOf }),
      desired: 'running',
      createdAt: new Date().toISOString(),
    }
  }

  #sandboxOwner(
    spec: ProjectSpec,
    service: ServiceSpec,
    number: number,
    others: readonly Container[],
  ): string | undefined {
    const mode = service.container.networkMode
    if (mode.kind === 'container') {
      // One that the same file makes has no record yet.
      const own = others.find(({ name }) => name === mode.container)
      return (own ?? requireContainer(this.#options.state.snapshot, mode.container)).id
    }
    if (mode.kind !== 'service') return undefined
    const replicas = others.filter(one => one.project === spec.name && one.service === mode.service)
    const owner = replicas.find(one => one.number === number) ?? replicas[0]
    if (owner !== undefined) return owner.id
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Service "${service.name}" shares the network of "${mode.service}", which has no replica`,
    )
  }
}

/** Whether its replicas are reached from outside. */
function publishes({ ports, container }: ServiceSpec): boolean {
  return container.networkMode.kind === 'networks' && ports.some(({ isPublished }) => isPublished)
}

const ingressAttachment: Attachment = {
  network: ingressNetworkName,
  aliases: [],
  gatewayPriority: 0,
}

function putAllocation(allocation: Allocation): Change {
  return { op: 'put-allocation', allocation }
}

function removeAllocation({ key }: Allocation): Change {
  return { op: 'remove-allocation', key }
}

/** Replicas that stay while the ports that they are reached at change. */
function keptPorts(spec: ProjectSpec, { keep }: ProjectPlan): Change[] {
  return keep.flatMap((container): Change[] => {
    const service = spec.services.find(({ name }) => name === container.service)
    if (service === undefined || isDeepStrictEqual(service.ports, container.ports)) return []
    return [{ op: 'put-container', container: { ...container, ports: service.ports } }]
  })
}

/** Marks a container as going; what is left of it is removed step by step. */
export function removal(container: Container): Change {
  return { op: 'put-container', container: { ...container, desired: 'removed' } }
}

/** The container, wanted to run. Throws CatalogError `CATALOG_REFUSED` for one that is being removed. */
export function refuseLeaving(container: Container): Container {
  if (container.desired === 'running') return container
  if (container.desired === 'stopped') return { ...container, desired: 'running' }
  throw new CatalogError('CATALOG_REFUSED', `Container "${container.name}" is being removed`)
}

/** For messages: whose a container is. */
export function describeOwner({ name, project }: Container): string {
  return project === undefined ? `container "${name}"` : `"${name}" of project "${project}"`
}

function networkFinder(snapshot: Snapshot, fresh: readonly Network[]): (name: string) => Network {
  return name => {
    const network = fresh.find(one => one.name === name) ?? findNetwork(snapshot, name)
    if (network !== undefined) return network
    throw new CatalogError('CATALOG_NOT_FOUND', `There is no network "${name}"`)
  }
}

/** A service on no network of its own may still be on the default bridge. */
function effectiveAttachments(service: ServiceSpec): readonly Attachment[] {
  return service.container.networkMode.kind === 'networks' ? service.attachments : []
}

function declaration(container: Container): Change[] {
  const status = initialStatus(container.id, container.spec.healthcheck !== undefined)
  return [
    { op: 'put-container', container },
    { op: 'put-status', status },
  ]
}

/**
 * Static addresses first, so that no other replica of the same file gets one of them by choice. Those
 * that share a sandbox come last, as they lease nothing and their owner must be there.
 */
function inLeaseOrder(replicas: readonly PlannedReplica[]): readonly PlannedReplica[] {
  const rank = ({ service }: PlannedReplica): number => {
    if (service.container.networkMode.kind === 'service') return 2
    return service.attachments.some(({ ipv4, ipv6 }) => ipv4 ?? ipv6) ? 0 : 1
  }
  return [...replicas].sort((a, b) => rank(a) - rank(b))
}
