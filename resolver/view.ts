/**
 * What one sandbox can resolve: its networks in lookup order, its private link aliases, and what
 * becomes of a name that none of them has. Cheap to make: the zones are shared.
 */

import type { ForwardPolicy } from './forward/policy.js'
import type { ManagedSpace } from './managed.js'
import { type NameKey, countLabels, foldName, nameKey, tryParseName } from './name.js'
import { type Owner, addressOwner } from './owner.js'
import { tryParseAddress } from './reverse.js'
import type { NetworkZone } from './zone.js'

export { type ManagedNames, type ManagedSpace, compileManaged } from './managed.js'

/** What one sandbox can resolve, as plain data over compiled zones. */
export interface ViewNames {
  /** In lookup order: see `sortAttachments`. */
  readonly networks: readonly NetworkZone[]
  /** Aliases of other endpoints that only this sandbox knows (`--link`). */
  readonly links?: readonly {
    readonly alias: string
    readonly network: NetworkZone
    readonly endpointId: string
  }[]
  /** What `host.docker.internal` and its like answer; none is NODATA, as on internal networks. */
  readonly hostGateways?: readonly string[]
  /** All networks of this host; see `compileManaged`. */
  readonly managed?: ManagedSpace
  readonly profile?: 'docker' | 'podman'
  /** A private domain for all names, such as `dns.podman`. */
  readonly suffix?: string
  /** False: only internal networks, or none. Then only upstreams via the sandbox are asked. */
  readonly hasExternalAccess: boolean
  /** On no network at all. */
  readonly isDetached?: boolean
  /** Above 0, set by the host or `--dns-opt`: single labels are left to the search list. */
  readonly ndots?: number
  /** Default true. */
  readonly forwardSingleLabel?: boolean
  /** Default `forward`; `nxdomain` where `.local` belongs to mDNS alone. */
  readonly localDomain?: 'forward' | 'nxdomain'
  /** Whose records are preferred where several groups claim a name. */
  readonly group?: string
  readonly forwarding?: ForwardPolicy
}

/** A link alias: an endpoint under a name of the sandbox's own. */
export interface Link {
  readonly owner: Owner
  readonly zone: NetworkZone
}

/** A compiled view. Made by `compileView` only. */
export interface View {
  readonly networks: readonly NetworkZone[]
  readonly links: ReadonlyMap<NameKey, readonly Link[]> | undefined
  /** The networks by name, and how many labels the longest of those names has. */
  readonly networkOf: ReadonlyMap<NameKey, NetworkZone>
  readonly networkLabels: number
  readonly hasWildcards: boolean
  readonly host: Owner
  readonly managed: ManagedSpace | undefined
  readonly isPodman: boolean
  readonly suffix: NameKey | undefined
  readonly group: string | undefined
  readonly isDetached: boolean
  /** False: nothing leaves, and what is not ours is denied or SERVFAIL. */
  readonly canForward: boolean
  readonly singleLabels: 'forward' | 'search' | 'deny'
  readonly localDomain: 'forward' | 'nxdomain'
  /** Whom to ask; without the upstreams that this view may not reach. */
  readonly forwarding: ForwardPolicy | undefined
  /** podman: names found on several networks, merged when first asked for. */
  readonly unions: Map<NameKey, Owner>
}

const noHost = addressOwner([], 0)

/**
 * Compiles a view. Throws ResolverError `NAME_INVALID` for a suffix that cannot be encoded; a
 * link alias that cannot be, or whose endpoint is gone, is left out.
 */
export function compileView(names: ViewNames): View {
  const networkOf = new Map<NameKey, NetworkZone>()
  let networkLabels = 0
  let hasWildcards = false
  for (const zone of names.networks) {
    if (zone.key !== '' && !networkOf.has(zone.key)) networkOf.set(zone.key, zone)
    networkLabels = Math.max(networkLabels, countLabels(zone.key))
    hasWildcards ||= zone.wildcards > 0
  }
  const forwarding = reachable(names)
  return {
    networks: names.networks,
    links: compileLinks(names),
    networkOf,
    networkLabels,
    hasWildcards,
    host: compileHost(names.hostGateways),
    managed: names.managed,
    isPodman: names.profile === 'podman',
    suffix: names.suffix === undefined ? undefined : nameKey(names.suffix),
    group: names.group,
    isDetached: names.isDetached ?? false,
    canForward: names.hasExternalAccess || forwarding !== undefined,
    singleLabels:
      (names.ndots ?? 0) > 0 ? 'search' : names.forwardSingleLabel === false ? 'deny' : 'forward',
    localDomain: names.localDomain ?? 'forward',
    forwarding,
    unions: new Map(),
  }
}

/** An internal sandbox may still ask a server on its own networks (`--dns`), never the host's. */
function reachable(names: ViewNames): ForwardPolicy | undefined {
  const { forwarding } = names
  if (forwarding === undefined || names.hasExternalAccess) return forwarding
  if (names.isDetached === true) return undefined
  const upstreams = forwarding.upstreams.filter(upstream => upstream.via === 'sandbox')
  if (upstreams.length === 0) return undefined
  return upstreams.length === forwarding.upstreams.length
    ? forwarding
    : { ...forwarding, upstreams }
}

function compileHost(gateways: readonly string[] | undefined): Owner {
  if (gateways === undefined || gateways.length === 0) return noHost
  const addresses = gateways.map(tryParseAddress).filter(address => address !== undefined)
  return addressOwner(addresses, 0)
}

function compileLinks(names: ViewNames): ReadonlyMap<NameKey, readonly Link[]> | undefined {
  if (names.links === undefined || names.links.length === 0) return undefined
  const links = new Map<NameKey, readonly Link[]>()
  for (const { alias, network, endpointId } of names.links) {
    const wire = tryParseName(alias)
    const endpoint = network.endpoints.get(endpointId)
    if (wire === undefined || endpoint === undefined) continue
    const key = foldName(wire)
    const owner = addressOwner(
      endpoint.addresses,
      network.context.ttlSeconds,
      `endpoint ${endpointId}`,
    )
    links.set(key, [...(links.get(key) ?? []), { owner, zone: network }])
  }
  return links.size === 0 ? undefined : links
}
