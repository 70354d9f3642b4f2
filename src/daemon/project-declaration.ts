/**
 * What a project file becomes in the catalog: checked against what is there, with subnets and addresses,
 * written in one transaction. Starts and stops nothing.
 */

import { randomBytes } from 'node:crypto'
import { findNetwork, type Snapshot } from '../catalog/catalog.js'
import type { Change } from '../catalog/change.js'
import { CatalogError, checkEntityName } from '../catalog/check.js'
import { initialStatus, type Container } from '../catalog/container.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { Attachment, ServiceSpec } from '../catalog/service.js'
import type { PlannedReplica, ProjectPlan } from '../plan/project.js'
import type { AddressDraft, Addresses } from './addresses.js'
import { requireContainer } from './find.js'
import type { Networks } from './networks.js'
import type { State } from './state.js'

export interface DeclarationOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly networks: Networks
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
}

export class ProjectDeclaration {
  readonly #options: DeclarationOptions

  constructor(options: DeclarationOptions) {
    this.#options = options
  }

  /**
   * Leases and writes everything of `plan`; containers that go are marked, not removed. Returns the new
   * ones. Where anything is refused nothing is written, and the leases are given back.
   */
  async write(
    spec: ProjectSpec,
    plan: ProjectPlan,
    goners: readonly Container[],
  ): Promise<readonly Container[]> {
    const { state, addresses } = this.#options
    const drafted = this.#draft(spec, plan, goners)
    try {
      await state.declare(
        [
          ...drafted.networks.map((network): Change => ({ op: 'put-network', network })),
          ...goners.map(removal),
          ...drafted.containers.flatMap(declaration),
          { op: 'put-project', project: spec },
        ],
        addresses.cursors(drafted.draft.networkIds),
      )
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
    const { state, addresses } = this.#options
    const networks = this.#resolveNetworks(spec, plan)
    const draft = addresses.draft()
    try {
      const find = networkFinder(state.snapshot, networks)
      const leaving = goners.flatMap(({ endpoints }) => endpoints)
      const leases: Leases = { find, draft, leaving }
      return { networks, draft, containers: this.#buildContainers(spec, plan, leases) }
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
    const endpoints = attachments.map((attachment, index): Endpoint => {
      const network = find(attachment.network)
      const inherited = replaces?.endpoints.find(({ networkId }) => networkId === network.id)
      return draft.lease(holder, network, attachment, `eth${index}`, inherited, leaving)
    })
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
