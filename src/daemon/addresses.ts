/**
 * IPAM over the catalog: pools built from the endpoints that exist, so that nothing can leak, and
 * drafts that give everything back when what they are for does not come about.
 */

import { randomBytes } from 'node:crypto'
import { parseAddress } from '../base/ip.js'
import type { Allocation, Vip } from '../catalog/allocation.js'
import type { Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network } from '../catalog/network.js'
import type { Attachment } from '../catalog/service.js'
import { AddressPool, IpamError, macOf } from '../ipam/index.js'
import { ownAliases } from '../plan/names.js'
import type { Cursors, Records, State } from './state.js'

interface SubnetPool {
  readonly family: 4 | 6
  readonly pool: AddressPool
}

/** For whom endpoints are made. */
export interface LeaseHolder {
  readonly containerId: string
  readonly containerName: string
  /** Plain aliases of a service are answered by the service, not by each replica. */
  readonly isOfService: boolean
}

export class Addresses {
  readonly #state: State
  /** By network id; a pool a subnet. Built at the first use of a network. */
  readonly #pools = new Map<string, readonly SubnetPool[]>()

  constructor(state: State) {
    this.#state = state
  }

  /** A set of leases that is kept or given back whole. */
  draft(): AddressDraft {
    return new AddressDraft(network => this.#poolsOf(network))
  }

  /** Gives the addresses of endpoints back; those that a successor has taken over stay leased. */
  release(endpoints: readonly Endpoint[]): void {
    for (const endpoint of endpoints) {
      const pools = this.#pools.get(endpoint.networkId) ?? []
      const held = new Set(
        leasesOn(this.#state.snapshot, endpoint.networkId).map(({ address }) => address),
      )
      const isFree = (address: string | undefined): boolean =>
        address !== undefined && !held.has(address)
      releaseFrom(pools, {
        ipv4: isFree(endpoint.ipv4) ? endpoint.ipv4 : undefined,
        ipv6: isFree(endpoint.ipv6) ? endpoint.ipv6 : undefined,
      })
    }
  }

  /** Gives the virtual addresses of a service back. */
  releaseVips({ vips }: Allocation): void {
    for (const [networkId, vip] of Object.entries(vips)) {
      releaseFrom(this.#pools.get(networkId) ?? [], vip)
    }
  }

  /** The network is gone. */
  forget(networkId: string): void {
    this.#pools.delete(networkId)
  }

  /** Where the pools of these networks stand, to be written with the change that moved them. */
  cursors(networkIds: Iterable<string>): Cursors {
    const cursors = new Map<string, Records['cursor']>()
    for (const id of networkIds) {
      const network = this.#state.snapshot.networks.get(id)
      const pools = this.#pools.get(id)
      if (!network || !pools) continue
      const entries = network.subnets.map(
        ({ subnet }, i) => [subnet, pools[i]?.pool.state()] as const,
      )
      cursors.set(id, Object.fromEntries(entries.flatMap(([key, s]) => (s ? [[key, s]] : []))))
    }
    return cursors
  }

  #poolsOf(network: Network): readonly SubnetPool[] {
    const known = this.#pools.get(network.id)
    if (known !== undefined) return known
    const leases = leasesOn(this.#state.snapshot, network.id)
    const cursors = this.#state.cursorsOf(network.id)
    const pools = network.subnets.map((subnet): SubnetPool => {
      const state = cursors[subnet.subnet]
      const options = { network: network.name, ...subnet, leases, ...(state && { state }) }
      return { family: subnet.subnet.includes(':') ? 6 : 4, pool: new AddressPool(options) }
    })
    this.#pools.set(network.id, pools)
    return pools
  }
}

/** What a draft took of one network. */
interface Leased {
  readonly pools: readonly SubnetPool[]
  readonly networkId: string
  readonly addresses: { readonly ipv4?: string | undefined; readonly ipv6?: string | undefined }
}

export class AddressDraft {
  readonly #poolsOf: (network: Network) => readonly SubnetPool[]
  /** Ids of endpoints whose addresses went to another container than their own's successor. */
  readonly #takenOver = new Set<string>()
  readonly #leased: Leased[] = []

  constructor(poolsOf: (network: Network) => readonly SubnetPool[]) {
    this.#poolsOf = poolsOf
  }

  /** Networks whose pools this draft moved. */
  get networkIds(): Set<string> {
    return new Set(this.#leased.map(({ networkId }) => networkId))
  }

  /**
   * An endpoint on `network`. Of `inherited`, what the replaced container had there, the addresses are
   * kept where they fit; of `leaving`, the endpoints that go with this draft, a wanted one is taken over. Throws
   * IpamError, or CatalogError `CATALOG_REFUSED` for a static address of a family the network lacks.
   */
  lease(
    holder: LeaseHolder,
    network: Network,
    attachment: Attachment,
    interfaceName: string,
    inherited?: Endpoint,
    leaving: readonly Endpoint[] = [],
  ): Endpoint {
    const pools = this.#poolsOf(network)
    const predecessor = leaving.find(
      one => one.networkId === network.id && isWholly(one, attachment),
    )
    // Taken over by another of this draft already: then it has to be leased anew.
    const isTaken = inherited !== undefined && this.#takenOver.has(inherited.id)
    const candidate = predecessor ?? (isTaken ? undefined : inherited)
    if (predecessor !== undefined) this.#takenOver.add(predecessor.id)
    const kept = candidate && isStillWanted(candidate, attachment) ? candidate : undefined
    const ipv4 = kept ? kept.ipv4 : leaseFamily(pools, network, holder, 4, attachment.ipv4)
    const ipv6 = kept ? kept.ipv6 : this.#leaseSecond(pools, network, holder, attachment, ipv4)
    const first = ipv4 ?? ipv6
    if (first === undefined) {
      throw new CatalogError(
        'CATALOG_REFUSED',
        `Network "${network.name}" has no subnet to lease from`,
      )
    }
    const endpoint: Endpoint = {
      id: randomBytes(32).toString('hex'),
      networkId: network.id,
      containerId: holder.containerId,
      aliases: ownAliases(attachment.aliases, holder.isOfService),
      ...(ipv4 !== undefined && { ipv4 }),
      ...(ipv6 !== undefined && { ipv6 }),
      isStatic: attachment.ipv4 !== undefined || attachment.ipv6 !== undefined,
      mac: attachment.mac ?? macOf(parseAddress(first.slice(0, first.indexOf('/')))),
      interfaceName: attachment.interfaceName ?? interfaceName,
      gatewayPriority: attachment.gatewayPriority,
    }
    if (kept === undefined) {
      this.#leased.push({ pools, networkId: network.id, addresses: { ipv4, ipv6 } })
    }
    return endpoint
  }

  /** A virtual address a family of `network` for a service. Throws IpamError. */
  leaseVip(owner: string, network: Network): Vip {
    const pools = this.#poolsOf(network)
    const addresses: { ipv4?: string; ipv6?: string } = {}
    this.#leased.push({ pools, networkId: network.id, addresses })
    const holder = { containerId: '', containerName: owner, isOfService: true }
    const ipv4 = leaseFamily(pools, network, holder, 4, undefined)
    if (ipv4 !== undefined) addresses.ipv4 = ipv4
    const ipv6 = leaseFamily(pools, network, holder, 6, undefined)
    if (ipv6 !== undefined) addresses.ipv6 = ipv6
    return addresses
  }

  /** Gives everything back. */
  rollback(): void {
    for (const { pools, addresses } of this.#leased) releaseFrom(pools, addresses)
    this.#leased.length = 0
  }

  #leaseSecond(
    pools: readonly SubnetPool[],
    network: Network,
    holder: LeaseHolder,
    attachment: Attachment,
    ipv4: string | undefined,
  ): string | undefined {
    try {
      return leaseFamily(pools, network, holder, 6, attachment.ipv6)
    } catch (error) {
      releaseFrom(pools, { ipv4 })
      throw error
    }
  }
}

function leaseFamily(
  pools: readonly SubnetPool[],
  network: Network,
  holder: LeaseHolder,
  family: 4 | 6,
  wanted: string | undefined,
): string | undefined {
  const candidates = pools.filter(one => one.family === family).map(one => one.pool)
  const [first] = candidates
  if (wanted !== undefined) {
    const pool = candidates.find(candidate => candidate.contains(wanted)) ?? first
    if (pool === undefined) {
      throw new CatalogError(
        'CATALOG_REFUSED',
        `Cannot give "${holder.containerName}" the address ${wanted}: network "${network.name}" has no IPv${family} subnet`,
      )
    }
    return pool.leaseStatic(wanted, holder.containerName)
  }
  let exhausted: IpamError | undefined
  for (const pool of candidates) {
    try {
      return pool.lease(holder.containerName)
    } catch (error) {
      // Another subnet of the family may still have one.
      if (!(error instanceof IpamError) || error.code !== 'IPAM_POOL_EXHAUSTED') throw error
      exhausted = error
    }
  }
  if (exhausted !== undefined) throw exhausted
  return undefined
}

/** Whether an endpoint has every static address that is wanted, of one at least. */
function isWholly(endpoint: Endpoint, { ipv4, ipv6 }: Attachment): boolean {
  const has = (have: string | undefined, want: string | undefined): boolean =>
    want === undefined || (have !== undefined && bare(have) === want)
  return (ipv4 ?? ipv6) !== undefined && has(endpoint.ipv4, ipv4) && has(endpoint.ipv6, ipv6)
}

function isStillWanted(endpoint: Endpoint, attachment: Attachment): boolean {
  const isSame = (have: string | undefined, want: string | undefined): boolean =>
    want === undefined ? !endpoint.isStatic : have !== undefined && bare(have) === want
  if (attachment.ipv4 === undefined && attachment.ipv6 === undefined) return !endpoint.isStatic
  return (
    (attachment.ipv4 === undefined || isSame(endpoint.ipv4, attachment.ipv4)) &&
    (attachment.ipv6 === undefined || isSame(endpoint.ipv6, attachment.ipv6))
  )
}

function releaseFrom(
  pools: readonly SubnetPool[],
  endpoint: { readonly ipv4?: string | undefined; readonly ipv6?: string | undefined },
): void {
  for (const cidr of [endpoint.ipv4, endpoint.ipv6]) {
    if (cidr === undefined) continue
    pools.find(({ pool }) => pool.contains(cidr))?.pool.release(cidr)
  }
}

/** Who has which address; of a container on its way out and its successor, the successor. */
function leasesOn(
  snapshot: Snapshot,
  networkId: string,
): { readonly address: string; readonly owner: string }[] {
  const members = [...(snapshot.members.get(networkId) ?? [])].flatMap(
    id => snapshot.containers.get(id) ?? [],
  )
  const owners = new Map<string, string>()
  const goners = members.filter(({ desired }) => desired === 'removed')
  const stayers = members.filter(({ desired }) => desired !== 'removed')
  for (const container of [...goners, ...stayers]) {
    for (const { networkId: on, ipv4, ipv6 } of container.endpoints) {
      if (on !== networkId) continue
      for (const address of [ipv4, ipv6]) {
        if (address !== undefined) owners.set(address, container.name)
      }
    }
  }
  for (const { service, vips } of snapshot.allocations.values()) {
    const vip = vips[networkId]
    for (const address of [vip?.ipv4, vip?.ipv6]) {
      if (address !== undefined) owners.set(address, `service "${service}"`)
    }
  }
  return [...owners].map(([address, owner]) => ({ address, owner }))
}

function bare(cidr: string): string {
  return cidr.split('/')[0] ?? cidr
}
