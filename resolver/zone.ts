/**
 * The names of one network, compiled: every owner with its records as bytes, every address with
 * its name. Immutable; an update shares with the old zone whatever the change leaves alone.
 */

import {
  type ClaimContext,
  type EndpointSource,
  type ServiceSource,
  compileEndpoint,
  compileGateways,
  compileService,
  serviceSource,
} from './claims.js'
import { type NameKey, countLabels, foldName, tryParseName } from './name.js'
import {
  type Owner,
  type PointerOwner,
  addressOwner,
  compileOwner,
  compilePointers,
} from './owner.js'
import { parseSubnets } from './subnets.js'
import { Table } from './table.js'
import { countAncestors, indexTasks, recompile } from './zone-index.js'

/** The names of one network, as plain data. */
export interface NetworkNames {
  /** In any case; names compare folded. */
  readonly name: string
  /** CIDR, IPv4 and IPv6. Reverse names inside are this network's to deny. */
  readonly subnets: readonly string[]
  /** Addresses; their PTR is `gateway.NETWORK.` */
  readonly gateways: readonly string[]
  /** Of endpoints and tasks. Default 0. */
  readonly ttlSeconds?: number
  /** Of virtual IPs, which outlive tasks. Default 600. */
  readonly vipTtlSeconds?: number
  readonly endpoints: readonly EndpointNames[]
  readonly services?: readonly ServiceNames[]
}

/** One sandbox's attachment to the network. */
export interface EndpointNames {
  /** Unique on the network. */
  readonly id: string
  /** The container's name, and what its PTR says. */
  readonly name: string
  /** Of the same rank as `name`, merged where shared; `*.x` is an RFC 4592 wildcard. */
  readonly aliases?: readonly string[]
  /** Short id and hostnames: heard only where no name, alias or service is spelt so. */
  readonly fallbacks?: readonly string[]
  /** IPv4 and IPv6. Empty: the name exists and has no data, as before the first health check. */
  readonly addresses: readonly string[]
  /** Askers of the same group hear only their own group's records, where it has any. */
  readonly group?: string
  /** The whole PTR target, instead of `name.NETWORK`. */
  readonly pointer?: string
}

/** A name for a set of endpoints. Identified by group and name. */
export interface ServiceNames {
  readonly name: string
  readonly aliases?: readonly string[]
  /** Empty: DNS round robin over the tasks. */
  readonly vips: readonly string[]
  /** Those that may be handed out: healthy and not draining. */
  readonly tasks: readonly { readonly endpointId: string }[]
  readonly ports: readonly {
    readonly name?: string
    readonly port: number
    readonly protocol: 'tcp' | 'udp' | 'sctp'
  }[]
  readonly group?: string
}

/** What became of some endpoints and services; the rest of the network stays as it is. */
export interface ZoneChange {
  /** New, or in place of those with the same id. */
  readonly endpoints?: readonly EndpointNames[]
  readonly removedEndpoints?: readonly string[]
  /** New, or in place of those with the same group and name. */
  readonly services?: readonly ServiceNames[]
  readonly removedServices?: readonly { readonly name: string; readonly group?: string }[]
}

/** A compiled network. Made by `compileZone` and `updateZone` only. */
export interface NetworkZone {
  readonly name: string
  readonly key: NameKey
  readonly context: ClaimContext
  readonly endpoints: Table<EndpointSource>
  readonly services: Table<ServiceSource>
  /** Endpoint id to the services that count it among their tasks. */
  readonly servicesOf: Table<readonly string[]>
  readonly owners: Table<Owner>
  /** How many owners are below each name that is a proper ancestor of one. */
  readonly nonTerminals: Table<number>
  readonly wildcards: number
  /** No owner has more labels than this; not lowered when the deepest goes. */
  readonly deepest: number
  readonly pointers: Table<PointerOwner>
  readonly gateway: Owner
  /** One sentence for each part of the network itself that was left out. */
  readonly skipped: readonly string[]
}

/** Default of `ttlSeconds`: endpoints move, and nginx and the JVM pin what they may cache. */
export const DEFAULT_TTL_SECONDS = 0
/** Default of `vipTtlSeconds`: moby's TTL for every local answer. */
export const DEFAULT_VIP_TTL_SECONDS = 600

/** Compiles a network. Never throws for bad names or addresses: see `listSkipped`. */
export function compileZone(names: NetworkNames): NetworkZone {
  const skipped: string[] = []
  const network = tryParseName(names.name)
  if (network === undefined) skipped.push(`network "${names.name}" cannot be encoded as a DNS name`)
  const context: ClaimContext = {
    network: network ?? '',
    ttlSeconds: names.ttlSeconds ?? DEFAULT_TTL_SECONDS,
    vipTtlSeconds: names.vipTtlSeconds ?? DEFAULT_VIP_TTL_SECONDS,
    subnets: parseSubnets(names.subnets, skipped),
  }
  const gateways = compileGateways(names.gateways, context)
  const empty: NetworkZone = {
    name: names.name,
    key: foldName(context.network),
    context,
    endpoints: Table.empty(),
    services: Table.empty(),
    servicesOf: Table.empty(),
    owners: Table.empty(),
    nonTerminals: Table.empty(),
    wildcards: 0,
    deepest: 0,
    pointers: recompile(Table.empty<PointerOwner>(), [], gateways.pointers, compilePointers),
    gateway: addressOwner(gateways.addresses, context.ttlSeconds),
    skipped: [...skipped, ...gateways.skipped],
  }
  return updateZone(empty, { endpoints: names.endpoints, services: names.services ?? [] })
}

/** The zone after `change`. Costs the names touched by it, not the names of the network. */
export function updateZone(zone: NetworkZone, change: ZoneChange): NetworkZone {
  const {
    endpoints,
    before: oldEndpoints,
    after: newEndpoints,
    ids,
  } = changeEndpoints(zone, change)
  const touched = touchedServices(zone, change, ids)
  const oldServices: ServiceSource[] = []
  const newServices: ServiceSource[] = []
  const services = new Map<string, ServiceSource | undefined>()
  for (const [source, names] of touched) {
    const old = zone.services.get(source)
    if (old !== undefined) oldServices.push(old)
    const compiled = names && compileService(names, zone.context, id => endpoints.get(id))
    if (compiled !== undefined) newServices.push(compiled)
    services.set(source, compiled)
  }
  const before = [...oldEndpoints, ...oldServices]
  const after = [...newEndpoints, ...newServices]
  const oldClaims = before.flatMap(source => source.claims)
  const newClaims = after.flatMap(source => source.claims)
  const oldPointers = before.flatMap(source => source.pointers)
  const newPointers = after.flatMap(source => source.pointers)
  const owners = recompile(zone.owners, oldClaims, newClaims, compileOwner)
  return {
    ...zone,
    endpoints,
    services: zone.services.with(services),
    servicesOf: indexTasks(zone.servicesOf, oldServices, newServices),
    owners,
    ...countAncestors(zone, owners, [...oldClaims, ...newClaims]),
    deepest: newClaims.reduce((most, { key }) => Math.max(most, countLabels(key)), zone.deepest),
    pointers: recompile(zone.pointers, oldPointers, newPointers, compilePointers),
  }
}

/** One sentence for each name or address of the network that DNS cannot carry. */
export function listSkipped(zone: NetworkZone): readonly string[] {
  const sources = [...zone.endpoints.entries(), ...zone.services.entries()]
  return [...zone.skipped, ...sources.flatMap(([, source]) => source.skipped)]
}

function changeEndpoints(zone: NetworkZone, change: ZoneChange) {
  const changes = new Map<string, EndpointSource | undefined>()
  for (const id of change.removedEndpoints ?? []) changes.set(id, undefined)
  for (const names of change.endpoints ?? []) {
    changes.set(names.id, compileEndpoint(names, zone.context))
  }
  const ids = [...changes.keys()]
  const defined = (source: EndpointSource | undefined) => source !== undefined
  return {
    ids,
    endpoints: zone.endpoints.with(changes),
    before: ids.map(id => zone.endpoints.get(id)).filter(defined),
    after: [...changes.values()].filter(defined),
  }
}

/** Services that change, or have a task that does; undefined for those that go. */
function touchedServices(
  zone: NetworkZone,
  change: ZoneChange,
  endpointIds: readonly string[],
): Map<string, ServiceNames | undefined> {
  const touched = new Map<string, ServiceNames | undefined>()
  for (const id of endpointIds) {
    for (const source of zone.servicesOf.get(id) ?? []) {
      touched.set(source, zone.services.get(source)?.names)
    }
  }
  for (const names of change.removedServices ?? []) touched.set(serviceSource(names), undefined)
  for (const names of change.services ?? []) touched.set(serviceSource(names), names)
  return touched
}
