/**
 * What each service of a project is given: its number, its virtual addresses, its ports. What it has is
 * kept; what is refused is refused before anything is written.
 */

import {
  allocationKey,
  type AllocatedPort,
  type Allocation,
  type Vip,
} from '../catalog/allocation.js'
import type { Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { PortSpec, ServiceSpec } from '../catalog/service.js'
import { allocatePorts, type HeldPort, type HostPort } from '../ipam/index.js'
import { givesNames } from '../plan/names.js'
import type { AddressDraft } from './addresses.js'

/** The mark is 20 bits of a firewall mark; the other 12 say that it is ours. */
const MAX_MARK = 0xfffff

export interface AllocationContext {
  readonly snapshot: Snapshot
  readonly draft: AddressDraft
  readonly find: (network: string) => Network
  /** Who of the host's own programs has a port. */
  readonly listenerAt: (port: HostPort) => string | undefined
}

export interface PlannedAllocations {
  readonly put: readonly Allocation[]
  /** Of services that the project has no more. */
  readonly remove: readonly Allocation[]
}

/** Throws PortError, IpamError or CatalogError `CATALOG_REFUSED`; then `draft` has to be rolled back. */
export function planAllocations(spec: ProjectSpec, context: AllocationContext): PlannedAllocations {
  const { snapshot } = context
  const mine = [...snapshot.allocations.values()].filter(({ project }) => project === spec.name)
  const kept = new Set(spec.services.map(({ name }) => name))
  const marks = new MarkBook(snapshot)
  const held = [...snapshot.allocations.values()]
    .filter(({ project }) => project !== spec.name)
    .flatMap(heldPorts)
  const put = spec.services.map(service => {
    const known = mine.find(one => one.service === service.name)
    const allocation: Allocation = {
      key: allocationKey(spec.name, service.name),
      project: spec.name,
      service: service.name,
      mark: known?.mark ?? marks.next(service.name),
      vips: planVips(spec.name, service, known, context),
      ports: planPorts(spec.name, service, known, { held, marks, ...context }),
    }
    held.push(...heldPorts(allocation))
    return allocation
  })
  return { put, remove: mine.filter(({ service }) => !kept.has(service)) }
}

/** The virtual addresses that `next` has no more. */
export function lostVips(previous: Allocation, next: Allocation | undefined): Allocation {
  const isLost = ([id]: readonly [string, Vip]): boolean => next?.vips[id] === undefined
  return { ...previous, vips: Object.fromEntries(Object.entries(previous.vips).filter(isLost)) }
}

function planVips(
  project: string,
  service: ServiceSpec,
  known: Allocation | undefined,
  { draft, find }: AllocationContext,
): Readonly<Record<string, Vip>> {
  if (service.endpointMode === 'dnsrr') return {}
  if (service.container.networkMode.kind !== 'networks') return {}
  const vips: Record<string, Vip> = {}
  for (const { network: name } of service.attachments) {
    const network = find(name)
    // Without a name nobody would find it.
    if (!givesNames(network)) continue
    const owner = `service "${service.name}" of project "${project}"`
    vips[network.id] = known?.vips[network.id] ?? draft.leaseVip(owner, network)
  }
  return vips
}

interface PortPlanning extends AllocationContext {
  readonly held: readonly HeldPort[]
  readonly marks: MarkBook
}

interface Wish {
  readonly spec: PortSpec
  readonly replica?: number
  readonly known: AllocatedPort | undefined
}

function planPorts(
  project: string,
  service: ServiceSpec,
  known: Allocation | undefined,
  { held, marks, listenerAt }: PortPlanning,
): readonly AllocatedPort[] {
  if (service.container.networkMode.kind !== 'networks') return []
  const wishes = wishesOf(service, known)
  const owner = `service "${service.name}" of project "${project}"`
  const own = heldPorts(known)
  const isOwn = ({ protocol, port }: HostPort): boolean =>
    own.some(one => one.protocol === protocol && one.port === port)
  const ports = allocatePorts(
    owner,
    wishes.map(({ spec, known: had }) => ({
      protocol: spec.protocol,
      ...(spec.published !== undefined
        ? { port: spec.published }
        : had !== undefined && { port: had.published }),
      ...withAddress(spec),
    })),
    // What answers at a port of its own is its own.
    { held, listenerAt: port => (isOwn(port) ? undefined : listenerAt(port)) },
  )
  return wishes.map(({ spec, replica, known: had }, i): AllocatedPort => {
    const { hostAddress: _any, ...rest } = spec
    const address = withAddress(spec).address
    return {
      ...rest,
      isPublished: true,
      published: ports[i] ?? 0,
      ...(address !== undefined && { hostAddress: address }),
      ...(replica !== undefined && { replica, mark: had?.mark ?? marks.next(service.name) }),
    }
  })
}

/** One a published port; in host mode one a replica. */
function wishesOf(service: ServiceSpec, known: Allocation | undefined): Wish[] {
  const left = [...(known?.ports ?? [])]
  const takeKnown = (spec: PortSpec, replica?: number): AllocatedPort | undefined => {
    const index = left.findIndex(
      one =>
        one.target === spec.target &&
        one.protocol === spec.protocol &&
        one.mode === spec.mode &&
        one.replica === replica &&
        (spec.published === undefined || spec.published === one.published),
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

function heldPorts(allocation: Allocation | undefined): HeldPort[] {
  if (allocation === undefined) return []
  const owner = `service "${allocation.service}" of project "${allocation.project}"`
  return allocation.ports.map(port => ({
    protocol: port.protocol,
    port: port.published,
    owner,
    ...withAddress(port),
  }))
}

/** The unspecified addresses mean every address. */
function withAddress({ hostAddress }: PortSpec): { readonly address?: string } {
  const isAny = hostAddress === undefined || hostAddress === '0.0.0.0' || hostAddress === '::'
  return isAny ? {} : { address: hostAddress }
}

/** Numbers that no service has; the next one is above all, so that none is used again soon. */
class MarkBook {
  readonly #used: Set<number>
  #last: number

  constructor({ allocations }: Snapshot) {
    const marks = [...allocations.values()].flatMap(({ mark, ports }) => [
      mark,
      ...ports.flatMap(port => port.mark ?? []),
    ])
    this.#used = new Set(marks)
    this.#last = marks.reduce((highest, mark) => Math.max(highest, mark), 0)
  }

  next(service: string): number {
    for (let tries = 0; tries < MAX_MARK; tries++) {
      this.#last = (this.#last % MAX_MARK) + 1
      if (this.#used.has(this.#last)) continue
      this.#used.add(this.#last)
      return this.#last
    }
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Cannot number service "${service}": ${MAX_MARK} services have a number each; remove some`,
    )
  }
}
