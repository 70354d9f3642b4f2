/**
 * What each service of a project is given: its number, its virtual addresses, its ports. What it has is
 * kept; what is refused is refused before anything is written.
 */

import { allocationKey, type Allocation, type Vip } from '../catalog/allocation.js'
import type { Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { ServiceSpec } from '../catalog/service.js'
import type { HostPort } from '../ipam/index.js'
import { givesNames } from '../plan/names.js'
import type { AddressDraft } from './addresses.js'
import { planPublishedPorts } from './published-ports.js'

/** The mark is 20 bits of a firewall mark; the other 12 say that it is ours. */
const MAX_MARK = 0xfffff

export interface AllocationContext {
  readonly snapshot: Snapshot
  readonly draft: Pick<AddressDraft, 'leaseVip'>
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
  const allocations = [...context.snapshot.allocations.values()]
  const mine = allocations.filter(({ project }) => project === spec.name)
  const wanted = new Set(spec.services.map(({ name }) => name))
  const book = new MarkBook(context.snapshot)
  const knownOf = ({ name }: ServiceSpec): Allocation | undefined =>
    mine.find(({ service }) => service === name)
  const marks = spec.services.map(one => knownOf(one)?.mark ?? book.next(one.name))
  const ports = planPublishedPorts(spec, {
    allocations,
    listenerAt: context.listenerAt,
    nextMark: service => book.next(service),
  })
  const put = spec.services.map((service, i): Allocation => ({
    key: allocationKey(spec.name, service.name),
    project: spec.name,
    service: service.name,
    mark: marks[i] ?? 0,
    vips: planVips(spec.name, service, knownOf(service), context),
    ports: ports.get(service.name) ?? [],
  }))
  return { put, remove: mine.filter(({ service }) => !wanted.has(service)) }
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

/** Numbers that no service has; the next one is above all that are in use. */
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
