/**
 * What has to change so that the catalog matches a project file: only the difference. Pure.
 *
 * Decides which networks and replicas are made, replaced, kept and removed; addresses, processes and
 * the order of starting are decided elsewhere.
 */

import { createHash } from 'node:crypto'
import type { Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { Network, NetworkSpec } from '../catalog/network.js'
import type { ProjectNetwork, ProjectSpec } from '../catalog/project.js'
import type { ServiceSpec } from '../catalog/service.js'

/** A replica that has to be made. */
export interface PlannedReplica {
  readonly name: string
  readonly service: ServiceSpec
  readonly number: number
  readonly digest: string
  /** The container it takes the place of, whose addresses it keeps where the networks stay. */
  readonly replaces?: Container
}

export interface ProjectPlan {
  readonly createNetworks: readonly ProjectNetwork[]
  /** Exist with another declaration: removed and made anew, with every replica on them. */
  readonly replaceNetworks: readonly { readonly network: ProjectNetwork; readonly old: Network }[]
  readonly create: readonly PlannedReplica[]
  /** As declared already; started where they do not run. */
  readonly keep: readonly Container[]
  /** Replicas above the wanted number. */
  readonly remove: readonly Container[]
  /** Of services that the file no longer has. */
  readonly orphans: readonly Container[]
}

export function planProject(snapshot: Snapshot, project: ProjectSpec): ProjectPlan {
  const networks = planNetworks(snapshot, project)
  const replaced = new Set(networks.replaceNetworks.map(({ old }) => old.id))
  const all = containersOf(snapshot, project.name)
  // Those on their way out have no successor to wait for: what is left of them goes first.
  const mine = all.filter(({ desired }) => desired !== 'removed')
  const create: PlannedReplica[] = []
  const keep: Container[] = []
  const remove: Container[] = all.filter(({ desired }) => desired === 'removed')
  const remade = new Set<string>()
  for (const service of project.services) {
    const digest = digestOf(service)
    const existing = mine.filter(container => container.service === service.name)
    for (let number = 1; number <= service.replicas; number++) {
      // While a replacement is under way there are two of one number: the new one is the one.
      const same = existing.filter(container => container.number === number)
      const current = same.find(container => container.digest === digest) ?? same[0]
      const name = replicaName(project.name, service, number)
      const isSame =
        current !== undefined &&
        current.digest === digest &&
        !current.endpoints.some(endpoint => replaced.has(endpoint.networkId)) &&
        hasItsSandbox(snapshot, current, remade)
      if (isSame) {
        keep.push(current)
        continue
      }
      if (current) remade.add(current.id)
      create.push({ name, service, number, digest, ...(current && { replaces: current }) })
    }
    remove.push(...existing.filter(container => container.number > service.replicas))
    // Neither kept nor replaced: what a replacement that did not come to its end has left.
    const taken = new Set([...keep, ...create.flatMap(({ replaces }) => replaces ?? []), ...remove])
    remove.push(...existing.filter(container => !taken.has(container)))
  }
  const declared = new Set(project.services.map(service => service.name))
  const orphans = mine.filter(container => !declared.has(container.service ?? ''))
  return { ...networks, create, keep, remove, orphans }
}

/** `shop-web-1`, or the declared `container_name`. */
export function replicaName(project: string, service: ServiceSpec, number: number): string {
  return service.containerName ?? `${project}-${service.name}-${number}`
}

/** Changes when a replica would have to be made anew; not with the number of replicas. */
export function digestOf(service: ServiceSpec): string {
  const { container, attachments, ports, containerName } = service
  const declared = {
    // How connections are spread, and where from, is no matter of the replica's.
    container: { ...container, labels: ownLabels(container.labels) },
    attachments,
    ports: ports.map(({ name, target, protocol }) => ({ name, target, protocol })),
    isPublished: ports.some(({ isPublished }) => isPublished),
    containerName,
  }
  return createHash('sha256').update(stableJson(declared)).digest('hex')
}

/** Without those of its service; a probe is the replica's, and is read when it starts. */
function ownLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const isOwn = (key: string): boolean =>
    !key.startsWith('portolan.') || /^portolan\.probe(\.|$)/.test(key)
  return Object.fromEntries(Object.entries(labels).filter(([key]) => isOwn(key)))
}

/** Every container of a project. */
export function containersOf(snapshot: Snapshot, project: string): Container[] {
  return [...snapshot.containers.values()].filter(container => container.project === project)
}

/** False where the sandbox it shares is gone or will be: it would stay in a dead one. */
function hasItsSandbox(
  snapshot: Snapshot,
  { sandboxOf }: Container,
  remade: ReadonlySet<string>,
): boolean {
  if (sandboxOf === undefined) return true
  const owner = snapshot.containers.get(sandboxOf)
  return owner !== undefined && owner.desired !== 'removed' && !remade.has(sandboxOf)
}

function planNetworks(
  snapshot: Snapshot,
  project: ProjectSpec,
): Pick<ProjectPlan, 'createNetworks' | 'replaceNetworks'> {
  const createNetworks: ProjectNetwork[] = []
  const replaceNetworks: { network: ProjectNetwork; old: Network }[] = []
  const existing = [...snapshot.networks.values()]
  for (const network of project.networks) {
    if (network.isExternal) continue
    const old = existing.find(candidate => candidate.name === network.spec.name)
    if (old === undefined) createNetworks.push(network)
    else if (old.project === project.name && !isDeclaredAs(old, network.spec)) {
      replaceNetworks.push({ network, old })
    }
  }
  return { createNetworks, replaceNetworks }
}

/** Whether an existing network is what `spec` declares. What IPAM chose by itself is no difference. */
function isDeclaredAs(network: Network, spec: NetworkSpec): boolean {
  return network.declaration === declarationOf(spec)
}

/** A digest of what was declared of a network, kept with it to tell a changed declaration. */
export function declarationOf(spec: NetworkSpec): string {
  const { driver, options, subnets, hasIpv4, hasIpv6, isInternal, isAttachable, labels } = spec
  return createHash('sha256')
    .update(
      stableJson({ driver, options, subnets, hasIpv4, hasIpv6, isInternal, isAttachable, labels }),
    )
    .digest('hex')
}

/** JSON with sorted keys, so that the order of keys in a file is no difference. */
function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}
