/**
 * Turns what a user declared about a network's subnets into subnets that exist: checked against
 * each other, the other networks and the host, each with a gateway. Pure.
 */

import { IpError, formatAddress, formatPrefix, parseAddress, parsePrefix } from '../base/ip.js'
import { prefixContains, prefixesOverlap } from '../base/ip.js'
import type { Address, Family, Prefix } from '../base/ip.js'
import { chooseSubnet } from './choose.js'
import { IpamError } from './error.js'
import type { IpamErrorCode } from './error.js'
import type { Pool } from './pool.js'
import { describeReserved, firstOf, leasableRange, prefixHolds } from './range.js'
import { describeTaken, findConflict } from './taken.js'
import type { Taken } from './taken.js'

/** One subnet as declared. */
export interface DeclaredSubnet {
  /** CIDR; of the unspecified address (`0.0.0.0/24`, `::/64`): one of that length from the pools. */
  readonly subnet: string
  readonly gateway?: string
  /** CIDR inside `subnet`. */
  readonly ipRange?: string
  readonly auxAddresses?: Readonly<Record<string, string>>
}

/** A subnet that exists. Text is canonical. */
export interface ResolvedSubnet {
  readonly subnet: string
  readonly gateway: string
  readonly ipRange?: string
  readonly auxAddresses: Readonly<Record<string, string>>
}

export interface SubnetsRequest {
  /** The network's name, for messages. */
  readonly name: string
  /** Those of a family that the network does not have are left out, as Docker does. */
  readonly subnets: readonly DeclaredSubnet[]
  readonly hasIpv4: boolean
  readonly hasIpv6: boolean
}

export interface SubnetsContext {
  readonly pools: readonly Pool[]
  /** What other networks and the host have. */
  readonly taken: readonly Taken[]
}

/** Where no network can be, whatever the host's routes say. */
const UNUSABLE: readonly { readonly prefix: Prefix; readonly what: string }[] = [
  { prefix: parsePrefix('0.0.0.0/8'), what: '"this network" (RFC 1122)' },
  { prefix: parsePrefix('127.0.0.0/8'), what: 'the loopback network' },
  { prefix: parsePrefix('224.0.0.0/3'), what: 'multicast and reserved space' },
  { prefix: parsePrefix('::/96'), what: 'the loopback and unspecified addresses' },
  { prefix: parsePrefix('::ffff:0:0/96'), what: 'IPv4-mapped addresses' },
  { prefix: parsePrefix('fe80::/10'), what: 'link-local addresses' },
  { prefix: parsePrefix('ff00::/8'), what: 'multicast addresses' },
]

/**
 * The network's subnets, IPv4 first: the declared ones, and for a family without any, one from the
 * pools. Throws IpamError `IPAM_BAD_SUBNET`, `IPAM_SUBNET_OVERLAP`, `IPAM_BAD_RANGE`,
 * `IPAM_BAD_GATEWAY`, `IPAM_BAD_ADDRESS`, `IPAM_ADDRESS_OUTSIDE`, `IPAM_ADDRESS_IN_USE`,
 * `IPAM_NO_FREE_SUBNET`.
 */
export function resolveSubnets(
  request: SubnetsRequest,
  context: SubnetsContext,
): readonly ResolvedSubnet[] {
  const families: Family[] = [
    ...(request.hasIpv4 ? ([4] as const) : []),
    ...(request.hasIpv6 ? ([6] as const) : []),
  ]
  const taken = [...context.taken]
  const resolved: ResolvedSubnet[] = []
  for (const family of families) {
    for (const { declared, prefix } of declaredOf(request, family)) {
      const chosen = prefix ?? chooseSubnet({ ...lengthOf(declared), family, ...context, taken })
      if (prefix !== undefined) refuseConflict(request.name, prefix, taken)
      taken.push({ kind: 'network', prefix: chosen, name: request.name })
      resolved.push(resolveSubnet(request.name, chosen, declared))
    }
  }
  return resolved
}

interface Declaration {
  readonly declared: DeclaredSubnet | undefined
  /** Undefined: to be chosen. */
  readonly prefix: Prefix | undefined
}

function declaredOf(request: SubnetsRequest, family: Family): readonly Declaration[] {
  const declarations = request.subnets.flatMap((declared): Declaration[] => {
    const prefix = parseSubnet(request.name, declared.subnet)
    if (prefix.family !== family) return []
    const isAnywhere = prefix.base === 0n && prefix.length > 0
    return [{ declared, prefix: isAnywhere ? undefined : prefix }]
  })
  return declarations.length > 0 ? declarations : [{ declared: undefined, prefix: undefined }]
}

function lengthOf(declared: DeclaredSubnet | undefined): { readonly length?: number } {
  return declared === undefined ? {} : { length: parsePrefix(declared.subnet).length }
}

function refuseConflict(network: string, prefix: Prefix, taken: readonly Taken[]): void {
  const text = formatPrefix(prefix)
  const unusable = UNUSABLE.find(one => prefixesOverlap(one.prefix, prefix))
  if (unusable !== undefined) {
    throw refusal('IPAM_BAD_SUBNET', network, `subnet ${text} overlaps with ${unusable.what}`)
  }
  const conflict = findConflict(prefix, taken)
  if (conflict === undefined) return
  const whom =
    conflict.kind === 'network' && conflict.name === network
      ? `another subnet of it (${formatPrefix(conflict.prefix)})`
      : describeTaken(conflict)
  throw refusal(
    'IPAM_SUBNET_OVERLAP',
    network,
    `subnet ${text} overlaps with ${whom}; choose one that is free`,
  )
}

function resolveSubnet(
  network: string,
  prefix: Prefix,
  declared: DeclaredSubnet | undefined,
): ResolvedSubnet {
  const range =
    declared?.ipRange === undefined ? prefix : parseRange(network, prefix, declared.ipRange)
  const auxAddresses = Object.entries(declared?.auxAddresses ?? {}).map(
    ([name, text]) => [name, parseAux(network, prefix, name, text)] as const,
  )
  const owners = new Map<bigint, string>()
  for (const [name, { value }] of auxAddresses) {
    const other = owners.get(value)
    if (other !== undefined) {
      const what = `auxiliary address "${name}" is the same as "${other}"`
      throw refusal('IPAM_ADDRESS_IN_USE', network, what)
    }
    owners.set(value, name)
  }
  const gateway =
    declared?.gateway === undefined
      ? chooseGateway(network, prefix, range, owners)
      : parseGateway(network, prefix, declared.gateway, owners)
  return {
    subnet: formatPrefix(prefix),
    gateway,
    ...(range === prefix ? {} : { ipRange: formatPrefix(range) }),
    auxAddresses: Object.fromEntries(auxAddresses.map(([name, at]) => [name, formatAddress(at)])),
  }
}

/**
 * The first usable address of the range, which is the subnet's where none is declared, as Docker's
 * (moby asks its allocator for any address of the pool); unlike moby's, one that is not auxiliary.
 */
function chooseGateway(
  network: string,
  subnet: Prefix,
  range: Prefix,
  auxiliary: ReadonlyMap<bigint, string>,
): string {
  const isFree = (value: bigint): boolean => !auxiliary.has(value)
  const gateway = firstOf(leasableRange(subnet, range), subnet.family, isFree)
  if (gateway === undefined) {
    const what = `${formatPrefix(range)} has no address left for a gateway; choose a larger subnet`
    throw refusal('IPAM_BAD_SUBNET', network, what)
  }
  return gateway
}

function parseGateway(
  network: string,
  subnet: Prefix,
  text: string,
  auxiliary: ReadonlyMap<bigint, string>,
): string {
  const gateway = parseInside(network, subnet, `gateway "${text}"`, text, 'IPAM_BAD_GATEWAY')
  const aux = auxiliary.get(gateway.value)
  if (aux !== undefined) {
    const what = `gateway ${text} is also the auxiliary address "${aux}"`
    throw refusal('IPAM_ADDRESS_IN_USE', network, what)
  }
  return formatAddress(gateway)
}

function parseAux(network: string, subnet: Prefix, name: string, text: string): Address {
  return parseInside(
    network,
    subnet,
    `auxiliary address "${name}" (${text})`,
    text,
    'IPAM_BAD_ADDRESS',
  )
}

function parseInside(
  network: string,
  subnet: Prefix,
  what: string,
  text: string,
  code: IpamErrorCode,
): Address {
  const address = parsed(network, code, what, () => parseAddress(text))
  if (!prefixContains(subnet, address)) {
    const outside = code === 'IPAM_BAD_ADDRESS' ? 'IPAM_ADDRESS_OUTSIDE' : code
    throw refusal(outside, network, `${what} is not in subnet ${formatPrefix(subnet)}`)
  }
  const reserved = describeReserved(subnet, address)
  if (reserved !== undefined) {
    throw refusal(code, network, `${what} is ${reserved} of subnet ${formatPrefix(subnet)}`)
  }
  return address
}

function parseSubnet(network: string, text: string): Prefix {
  const prefix = parsed(network, 'IPAM_BAD_SUBNET', `subnet "${text}"`, () => parsePrefix(text))
  refuseHostBits('IPAM_BAD_SUBNET', network, `subnet ${text}`, text, prefix)
  if (prefix.length === 0) {
    throw refusal('IPAM_BAD_SUBNET', network, `subnet ${text} is the whole of IPv${prefix.family}`)
  }
  return prefix
}

function parseRange(network: string, subnet: Prefix, text: string): Prefix {
  const what = `ip-range "${text}"`
  const range = parsed(network, 'IPAM_BAD_RANGE', what, () => parsePrefix(text))
  refuseHostBits('IPAM_BAD_RANGE', network, what, text, range)
  if (!prefixHolds(subnet, range)) {
    throw refusal('IPAM_BAD_RANGE', network, `${what} is not inside subnet ${formatPrefix(subnet)}`)
  }
  return range.length === subnet.length ? subnet : range
}

/** Docker refuses 10.0.1.5/24 for 10.0.1.0/24: more often a slip than a wish. */
function refuseHostBits(
  code: IpamErrorCode,
  network: string,
  what: string,
  text: string,
  prefix: Prefix,
): void {
  const written = parseAddress(text.slice(0, text.indexOf('/')))
  if (written.value === prefix.base) return
  throw refusal(code, network, `${what} has host bits set; write ${formatPrefix(prefix)}`)
}

function parsed<T>(network: string, code: IpamErrorCode, what: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    if (!(cause instanceof IpError)) throw cause
    const form =
      code === 'IPAM_BAD_SUBNET' || code === 'IPAM_BAD_RANGE' ? 'ADDRESS/LENGTH' : 'an address'
    throw refusal(code, network, `${what} is not ${form}`, { cause })
  }
}

function refusal(
  code: IpamErrorCode,
  network: string,
  why: string,
  options?: ErrorOptions,
): IpamError {
  return new IpamError(code, `Cannot create network "${network}": ${why}`, options)
}
