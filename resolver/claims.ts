/**
 * What each endpoint and service of a network claims: names, aliases, `tasks.` names, SRV owners
 * and addresses. A name that cannot be encoded is skipped and reported; the rest still resolves.
 */

import type { Prefix } from '../src/base/ip.js'
import { type NameKey, type WireName, foldName, joinNames, tryParseName } from './name.js'
import { type Claim, type PointerClaim, addressSets } from './owner.js'
import {
  type AddressKey,
  isReverseWithin,
  parseReverse,
  reverseApexStart,
  reverseKey,
  tryParseAddress,
} from './reverse.js'
import type { ServiceTarget } from './rrset.js'
import type { EndpointNames, ServiceNames } from './zone.js'

/** What every claim on a network shares. */
export interface ClaimContext {
  /** The network's name as spelt; empty where it cannot be encoded. */
  readonly network: WireName
  readonly ttlSeconds: number
  readonly vipTtlSeconds: number
  readonly subnets: readonly Prefix[]
}

/** One endpoint or service, compiled. */
export interface Source {
  readonly claims: readonly Claim[]
  readonly pointers: readonly PointerClaim[]
  /** One sentence for each name or address that was left out. */
  readonly skipped: readonly string[]
}

export interface EndpointSource extends Source {
  readonly names: EndpointNames
  readonly addresses: readonly AddressKey[]
  /** The name other records lead to: the container's, or the first that can be encoded. */
  readonly wire: WireName | undefined
}

export interface ServiceSource extends Source {
  readonly names: ServiceNames
}

/** A container id's name in Docker: its first 12 characters. */
const SHORT_ID_CHARACTERS = 12

/** `tasks.NAME`: the addresses behind a virtual IP. */
const TASKS_LABEL = '\x05tasks'

export function compileEndpoint(names: EndpointNames, context: ClaimContext): EndpointSource {
  const skipped: string[] = []
  const primary = parseNames([names.name, ...(names.aliases ?? [])], skipped)
  const fallback = parseNames(names.fallbacks ?? [], skipped)
  const addresses = parseAddresses(names.addresses, skipped)
  const source = `endpoint ${names.id}`
  const own = addressPart(addresses, context.ttlSeconds)
  const claimOf = (tier: Claim['tier']) => (wire: WireName) =>
    nameClaim(wire, { source, tier, group: names.group }, own)
  const concrete = [...primary, ...fallback].filter(wire => !isWildcard(wire))
  const shortId = tryParseName(names.id.slice(0, SHORT_ID_CHARACTERS))
  const wire = concrete[0] ?? shortId
  return {
    names,
    addresses,
    wire,
    skipped,
    claims: unique([...primary.map(claimOf('name')), ...fallback.map(claimOf('fallback'))]),
    pointers: pointersOf(addresses, source, 0, context, {
      target: pointerTarget(names, wire, context, skipped),
      bare: concrete,
    }),
  }
}

export function compileService(
  names: ServiceNames,
  context: ClaimContext,
  endpointOf: (id: string) => EndpointSource | undefined,
): ServiceSource {
  const skipped: string[] = []
  const wires = parseNames([names.name, ...(names.aliases ?? [])], skipped)
  const vips = parseAddresses(names.vips, skipped)
  const tasks = names.tasks
    .map(task => endpointOf(task.endpointId))
    .filter(task => task !== undefined)
  const taskAddresses = tasks.flatMap(task => task.addresses)
  const source = serviceSource(names)
  const shared = { source, tier: 'name', group: names.group } as const
  const hasVip = names.vips.length > 0
  const ofTasks = addressPart(taskAddresses, context.ttlSeconds)
  const own = hasVip ? addressPart(vips, context.vipTtlSeconds) : ofTasks
  const claims: Claim[] = []
  const targets = targetsOf(wires[0], vips, tasks, hasVip, context)
  for (const wire of wires) {
    claims.push(nameClaim(wire, shared, own))
    if (isWildcard(wire)) continue
    const tasksName = joinNames(TASKS_LABEL, wire)
    if (tasksName !== undefined) {
      claims.push(nameClaim(tasksName, shared, ofTasks))
    }
    claims.push(...serviceClaims(wire, names, shared, targets))
  }
  const qualified = wires[0] && (joinNames(wires[0], context.network) ?? wires[0])
  return {
    names,
    claims: unique(claims),
    skipped,
    pointers: pointersOf(vips, source, 1, context, { target: qualified, bare: wires.slice(0, 1) }),
  }
}

/** The gateways' reverse names: `gateway.NETWORK.` */
export function compileGateways(
  gateways: readonly string[],
  context: ClaimContext,
): Source & { readonly addresses: readonly AddressKey[] } {
  const skipped: string[] = []
  const addresses = parseAddresses(gateways, skipped)
  const target = joinNames(GATEWAY_NAME, context.network) ?? GATEWAY_NAME
  const pointers = pointersOf(addresses, 'gateway', 2, context, { target, bare: [GATEWAY_NAME] })
  return { claims: [], pointers, skipped, addresses }
}

/** What a network's gateway is called below the network's name. */
export const GATEWAY_NAME = '\x07gateway'

/** The identity of a service: two groups may each have one of the same name. */
export function serviceSource(names: { readonly name: string; readonly group?: string }): string {
  return `service ${names.group ?? ''}/${names.name.toLowerCase()}`
}

/** True for `*.x`, an RFC 4592 wildcard; a lone `*` would claim every name and is literal. */
export function isWildcard(wire: WireName): boolean {
  return wire.length > 2 && wire.startsWith('\x01*')
}

function targetsOf(
  service: WireName | undefined,
  vips: readonly AddressKey[],
  tasks: readonly EndpointSource[],
  hasVip: boolean,
  context: ClaimContext,
): readonly Omit<ServiceTarget, 'port'>[] {
  const owners = hasVip ? [{ wire: service, addresses: vips }] : tasks
  const ttlSeconds = hasVip ? context.vipTtlSeconds : context.ttlSeconds
  return owners.flatMap(({ wire, addresses }) => {
    const name = wire === undefined ? undefined : joinNames(wire, context.network)
    return name === undefined ? [] : [{ name, addresses, ttlSeconds }]
  })
}

/** `_http._tcp.web` and `_80._tcp.web`, in key form. */
function serviceClaims(
  wire: WireName,
  names: ServiceNames,
  shared: Pick<Claim, 'source' | 'tier' | 'group'>,
  targets: readonly Omit<ServiceTarget, 'port'>[],
): Claim[] {
  return names.ports.flatMap(({ name, port, protocol }) => {
    const labels = name === undefined ? [`${port}`] : [name, `${port}`]
    return labels.flatMap((label): Claim[] => {
      const prefix = label.includes('.') ? undefined : tryParseName(`_${label}._${protocol}`)
      const key = prefix === undefined ? undefined : joinNames(prefix, wire)
      if (key === undefined) return []
      const claim = nameClaim(key, shared, noAddresses)
      return [{ ...claim, targets: targets.map(target => ({ ...target, port })) }]
    })
  })
}

type AddressPart = Pick<Claim, 'addresses' | 'ttlSeconds' | 'alone'>

function addressPart(addresses: readonly AddressKey[], ttlSeconds: number): AddressPart {
  return { addresses, ttlSeconds, alone: addressSets([{ addresses, ttlSeconds }]) }
}

const noAddresses = addressPart([], 0)

function nameClaim(
  wire: WireName,
  from: Pick<Claim, 'source' | 'tier' | 'group'>,
  part: AddressPart,
): Claim {
  const { source, tier, group } = from
  const { addresses, ttlSeconds, alone } = part
  return {
    key: foldName(wire),
    source,
    tier,
    group,
    ttlSeconds,
    addresses,
    alone,
    targets: noTargets,
  }
}

const noTargets: readonly ServiceTarget[] = []

function pointersOf(
  addresses: readonly AddressKey[],
  source: string,
  rank: number,
  context: ClaimContext,
  to: { readonly target: WireName | undefined; readonly bare: readonly WireName[] },
): PointerClaim[] {
  const { target, bare } = to
  if (target === undefined) return []
  const ttlSeconds = rank === 1 ? context.vipTtlSeconds : context.ttlSeconds
  return addresses.map(address => {
    const key = reverseKey(address)
    return { key, source, rank, ttlSeconds, apex: apexAbove(key, context.subnets), target, bare }
  })
}

/** Where the closest reverse apex of the network starts in `key`; 0 where it is in no subnet. */
function apexAbove(key: NameKey, subnets: readonly Prefix[]): number {
  if (subnets.length === 0) return 0
  const reverse = parseReverse(key)
  const subnet = reverse && subnets.find(each => isReverseWithin(reverse, each))
  return subnet === undefined ? 0 : reverseApexStart(key, subnet)
}

function pointerTarget(
  names: EndpointNames,
  wire: WireName | undefined,
  context: ClaimContext,
  skipped: string[],
): WireName | undefined {
  const own = names.pointer === undefined ? undefined : parseNames([names.pointer], skipped)[0]
  if (own !== undefined) return own
  return wire === undefined ? undefined : (joinNames(wire, context.network) ?? wire)
}

/** A name claimed twice by one source counts once, as a `name` where it is both. */
function unique(claims: readonly Claim[]): Claim[] {
  const byKey = new Map<NameKey, Claim>()
  for (const claim of claims) if (!byKey.has(claim.key)) byKey.set(claim.key, claim)
  return [...byKey.values()]
}

function parseNames(names: readonly string[], skipped: string[]): WireName[] {
  return names.flatMap(name => {
    const wire = tryParseName(name)
    if (wire === undefined) skipped.push(`"${name}" cannot be encoded as a DNS name`)
    return wire === undefined ? [] : [wire]
  })
}

function parseAddresses(addresses: readonly string[], skipped: string[]): AddressKey[] {
  return addresses.flatMap(text => {
    const address = tryParseAddress(text)
    if (address === undefined) skipped.push(`"${text}" is not an IPv4 or IPv6 address`)
    return address === undefined ? [] : [address]
  })
}
