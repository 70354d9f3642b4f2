/**
 * Which ports of the host the services of a project are published at. Declared ones and those that a
 * service has are settled for the whole project before any is chosen.
 */

import type { AllocatedPort, Allocation } from '../catalog/allocation.js'
import { CatalogError } from '../catalog/check.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { PortSpec, ServiceSpec } from '../catalog/service.js'
import { allocatePorts, type HeldPort, type HostPort } from '../ipam/index.js'

export interface PublishedPortsContext {
  /** Everybody's on this node, this project's included. */
  readonly allocations: Iterable<Allocation>
  /** Who of the host's own programs has a port. */
  readonly listenerAt: (port: HostPort) => string | undefined
  /** A number for a port of mode `host` of a service. */
  readonly nextMark: (service: string) => number
}

interface Wish {
  readonly spec: PortSpec
  readonly replica?: number
  /** What the service has already. */
  readonly known: AllocatedPort | undefined
}

interface Draft {
  readonly service: ServiceSpec
  readonly wishes: readonly Wish[]
  /** Of its wishes, those that leave no choice. */
  readonly claims: readonly HeldPort[]
}

/** By service. Throws PortError, or CatalogError `CATALOG_REFUSED` for what replicas cannot share. */
export function planPublishedPorts(
  spec: ProjectSpec,
  context: PublishedPortsContext,
): ReadonlyMap<string, readonly AllocatedPort[]> {
  const all = [...context.allocations]
  const mine = all.filter(({ project }) => project === spec.name)
  const held = all.filter(({ project }) => project !== spec.name).flatMap(heldPorts)
  // What answers at a port of the project's own is its own.
  const own = mine.flatMap(heldPorts)
  const listenerAt = (port: HostPort): string | undefined =>
    own.some(one => isSamePort(one, port)) ? undefined : context.listenerAt(port)
  const services = spec.services.filter(
    ({ container }) => container.networkMode.kind === 'networks',
  )
  const declared = services.flatMap(declaredPorts)
  const drafts = services.map((service): Draft => {
    const known = mine.find(one => one.service === service.name)
    const wishes = wishesOf(service, known?.ports ?? [], declared)
    return { service, wishes, claims: claimsOf(spec.name, service, wishes) }
  })
  const planned = new Map<string, readonly AllocatedPort[]>()
  for (const draft of drafts) {
    const { service, wishes } = draft
    const others = drafts.flatMap(one => (one === draft ? [] : one.claims))
    const owner = describeOwner(spec.name, service.name)
    const taken = { held: [...held, ...others], listenerAt }
    const chosen = allocatePorts(owner, wishes.map(toPortWish), taken)
    const ports = wishes.map((wish, i) => allocated(wish, chosen[i] ?? 0, service, context))
    held.push(...ports.map(port => toHeld(port, port.published, owner)))
    planned.set(service.name, ports)
  }
  return planned
}

function allocated(
  { spec, replica, known }: Wish,
  published: number,
  service: ServiceSpec,
  { nextMark }: PublishedPortsContext,
): AllocatedPort {
  const { hostAddress: _any, ...rest } = spec
  const address = addressOf(spec)
  return {
    ...rest,
    isPublished: true,
    published,
    ...(address !== undefined && { hostAddress: address }),
    ...(replica !== undefined && { replica, mark: known?.mark ?? nextMark(service.name) }),
  }
}

/** One a published port; in host mode one a replica. */
function wishesOf(
  service: ServiceSpec,
  known: readonly AllocatedPort[],
  declared: readonly HostPort[],
): Wish[] {
  const left = [...known]
  const isKept = (one: AllocatedPort, spec: PortSpec): boolean => {
    if (spec.published !== undefined) return spec.published === one.published
    // A chosen one is chosen anew where a file declares it, or where it was free at one address only.
    const { protocol, published: port } = one
    const isDeclared = declared.some(other => isSamePort(other, { protocol, port }))
    return !isDeclared && one.hostAddress === addressOf(spec)
  }
  const takeKnown = (spec: PortSpec, replica?: number): AllocatedPort | undefined => {
    const index = left.findIndex(
      one =>
        one.target === spec.target &&
        one.protocol === spec.protocol &&
        one.mode === spec.mode &&
        one.replica === replica &&
        isKept(one, spec),
    )
    return index < 0 ? undefined : left.splice(index, 1)[0]
  }
  return service.ports
    .filter(({ isPublished }) => isPublished)
    .flatMap((spec): Wish[] => {
      if (spec.mode === 'ingress') return [{ spec, known: takeKnown(spec) }]
      refuseShared(service, spec)
      return Array.from({ length: service.replicas }, (_, i) => ({
        spec,
        replica: i + 1,
        known: takeKnown(spec, i + 1),
      }))
    })
}

function refuseShared(service: ServiceSpec, { published, protocol }: PortSpec): void {
  if (published === undefined || service.replicas <= 1) return
  throw new CatalogError(
    'CATALOG_REFUSED',
    `Cannot publish port ${published}/${protocol} of service "${service.name}" in mode host: ${service.replicas} replicas on one node cannot share it; use mode ingress or leave the published port out`,
  )
}

function toPortWish(wish: Wish) {
  const { protocol } = wish.spec
  const port = portOf(wish)
  return { protocol, ...(port !== undefined && { port }), ...withAddress(wish.spec) }
}

function portOf({ spec, known }: Wish): number | undefined {
  return spec.published ?? known?.published
}

function declaredPorts({ ports }: ServiceSpec): HostPort[] {
  return ports.flatMap(({ isPublished, published: port, protocol }) =>
    isPublished && port !== undefined ? [{ protocol, port }] : [],
  )
}

function claimsOf(project: string, service: ServiceSpec, wishes: readonly Wish[]): HeldPort[] {
  const owner = describeOwner(project, service.name)
  return wishes.flatMap(wish => {
    const port = portOf(wish)
    return port === undefined ? [] : [toHeld(wish.spec, port, owner)]
  })
}

function heldPorts({ project, service, ports }: Allocation): HeldPort[] {
  return ports.map(port => toHeld(port, port.published, describeOwner(project, service)))
}

function toHeld(spec: PortSpec, port: number, owner: string): HeldPort {
  return { protocol: spec.protocol, port, owner, ...withAddress(spec) }
}

function describeOwner(project: string, service: string): string {
  return `service "${service}" of project "${project}"`
}

function isSamePort(a: HostPort, b: HostPort): boolean {
  return a.protocol === b.protocol && a.port === b.port
}

function withAddress(spec: PortSpec): { readonly address?: string } {
  const address = addressOf(spec)
  return address === undefined ? {} : { address }
}

/** The unspecified addresses mean every address. */
function addressOf({ hostAddress }: PortSpec): string | undefined {
  return hostAddress === '0.0.0.0' || hostAddress === '::' ? undefined : hostAddress
}
