/**
 * Routes of one routing table, in the namespace of the calling moment (rtnetlink(7),
 * include/uapi/linux/rtnetlink.h). Which packets look into it is said by rules.
 */
import {
  addressBytes,
  addressOfBytes,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  type Family,
} from '../base/ip.js'
import { attribute, parseAttributes } from './attribute.js'
import { ignoring } from './error.js'
import { familyNumber, familyOf } from './family.js'
import { NETLINK_ROUTE, NLM_F, readNetlink, sendNetlink } from './netlink.js'

const RTM = { NEWROUTE: 24, DELROUTE: 25, GETROUTE: 26 } as const
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, TABLE: 15 } as const
const RTN = { unicast: 1, local: 2, blackhole: 6, unreachable: 7, prohibit: 8 } as const
const TYPES: readonly RouteType[] = ['unicast', 'local', 'blackhole', 'unreachable', 'prohibit']
const RT_SCOPE = { UNIVERSE: 0, LINK: 253, HOST: 254, NOWHERE: 255 } as const
const RTPROT_STATIC = 4
const RTNH_F_ONLINK = 4
const RTM_F_CLONED = 0x200
/** What the kernel gives an IPv6 route that asks for none (include/uapi/linux/ipv6_route.h). */
const IP6_RT_PRIO_USER = 1024
/** struct rtmsg. */
const HEADER_BYTES = 12

export type RouteType = 'unicast' | 'local' | 'blackhole' | 'unreachable' | 'prohibit'

/** One route of a table. */
export interface TableRoute {
  readonly family: Family
  readonly type: RouteType
  /** CIDR; absent: the default route. */
  readonly destination?: string | undefined
  readonly gateway?: string | undefined
  /** The link; not of a route that refuses. */
  readonly index?: number | undefined
  /** The address that packets of this host leave from. */
  readonly source?: string | undefined
  /** Lower ones win. By default 0 for IPv4 and 1024 for IPv6. */
  readonly metric?: number | undefined
  /** Whether the gateway is taken to be on the link, whatever the addresses say. */
  readonly isOnlink?: boolean | undefined
}

/** The routes of one table, of both families. */
export function listTableRoutes(table: number): readonly TableRoute[] {
  const payload = Buffer.alloc(HEADER_BYTES)
  const attempt = `list the routes of table ${table}`
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETROUTE, payload, attempt }
  return readNetlink(request, message =>
    message.type === RTM.NEWROUTE ? parseTableRoute(message.payload, table) : undefined,
  )
}

/** Puts a route, in place of the one with its destination and metric. Throws KernelError. */
export function replaceRoute(table: number, route: TableRoute): void {
  const payload = composeRoute(table, route, {
    scope: scopeOf(route),
    protocol: RTPROT_STATIC,
  })
  send(RTM.NEWROUTE, NLM_F.CREATE | NLM_F.REPLACE, payload, `put ${nameOf(table, route)}`)
}

/** Removes a route; returns false where there is none. Throws KernelError. */
export function removeRoute(table: number, route: TableRoute): boolean {
  const payload = composeRoute(table, route, { scope: RT_SCOPE.NOWHERE, protocol: 0 })
  const attempt = `remove ${nameOf(table, route)}`
  return ignoring('ESRCH', () => send(RTM.DELROUTE, 0, payload, attempt))
}

/**
 * Makes `wanted` the routes of a table that is all ours: puts what is missing or differs, then removes
 * the rest. Returns how many routes it changed. Throws KernelError with the errno as code.
 */
export function reconcileRoutes(table: number, wanted: readonly TableRoute[]): number {
  const rest = new Set(listTableRoutes(table))
  const take = (matches: (route: TableRoute) => boolean): boolean => {
    const found = [...rest].find(matches)
    return found !== undefined && rest.delete(found)
  }
  const missing = wanted.filter(route => !take(one => keyOf(one) === keyOf(route)))
  for (const route of missing) {
    replaceRoute(table, route)
    take(one => slotOf(one) === slotOf(route))
  }
  return missing.length + [...rest].filter(route => removeRoute(table, route)).length
}

/** The route of one message, where it is one of `table` and of a type that we know. */
export function parseTableRoute(payload: Buffer, table: number): TableRoute | undefined {
  const family = familyOf(payload[0])
  if (family === undefined || payload.length < HEADER_BYTES) return undefined
  const attributes = parseAttributes(payload.subarray(HEADER_BYTES))
  const number = (type: number): number | undefined => {
    const bytes = attributes.get(type)
    return bytes === undefined || bytes.length < 4 ? undefined : bytes.readUInt32LE(0)
  }
  const address = (type: number): string | undefined => {
    const bytes = attributes.get(type)
    if (bytes?.length !== (family === 4 ? 4 : 16)) return undefined
    return formatAddress(addressOfBytes(bytes))
  }
  const flags = payload.readUInt32LE(8)
  const type = TYPES.find(name => RTN[name] === payload.readUInt8(7))
  if (type === undefined || (flags & RTM_F_CLONED) !== 0) return undefined
  if ((number(RTA.TABLE) ?? payload.readUInt8(4)) !== table) return undefined
  const destination = address(RTA.DST)
  return {
    family,
    type,
    destination: destination && `${destination}/${payload.readUInt8(1)}`,
    gateway: address(RTA.GATEWAY),
    // The kernel shows the loopback for IPv6 routes that refuse.
    index: refuses(type) ? undefined : number(RTA.OIF),
    source: address(RTA.PREFSRC),
    metric: number(RTA.PRIORITY) ?? 0,
    isOnlink: (flags & RTNH_F_ONLINK) !== 0,
  }
}

function send(type: number, flags: number, payload: Buffer, attempt: string): void {
  sendNetlink({ protocol: NETLINK_ROUTE, type, flags, payload, attempt })
}

function composeRoute(
  table: number,
  route: TableRoute,
  { scope, protocol }: { readonly scope: number; readonly protocol: number },
): Buffer {
  const { family, gateway, index, source } = route
  const prefix = route.destination === undefined ? undefined : parsePrefix(route.destination)
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(familyNumber(family), 0)
  header.writeUInt8(prefix?.length ?? 0, 1)
  header.writeUInt8(protocol, 5)
  header.writeUInt8(scope, 6)
  header.writeUInt8(RTN[route.type], 7)
  header.writeUInt32LE(route.isOnlink === true ? RTNH_F_ONLINK : 0, 8)
  const bytesOf = (address: string): Uint8Array => addressBytes(parseAddress(address))
  const base = prefix && addressBytes({ family, value: prefix.base })
  return Buffer.concat([
    header,
    attribute(RTA.TABLE, table),
    attribute(RTA.PRIORITY, metricOf(route)),
    ...(base === undefined ? [] : [attribute(RTA.DST, base)]),
    ...(gateway === undefined ? [] : [attribute(RTA.GATEWAY, bytesOf(gateway))]),
    ...(index === undefined ? [] : [attribute(RTA.OIF, index)]),
    ...(source === undefined ? [] : [attribute(RTA.PREFSRC, bytesOf(source))]),
  ])
}

function scopeOf({ type, gateway }: TableRoute): number {
  if (type === 'local') return RT_SCOPE.HOST
  return type === 'unicast' && gateway === undefined ? RT_SCOPE.LINK : RT_SCOPE.UNIVERSE
}

function refuses(type: RouteType): boolean {
  return type === 'blackhole' || type === 'unreachable' || type === 'prohibit'
}

function metricOf({ family, metric = 0 }: TableRoute): number {
  return family === 6 && metric === 0 ? IP6_RT_PRIO_USER : metric
}

function nameOf(table: number, { family, destination = 'default' }: TableRoute): string {
  return `the IPv${family} route "${destination}" of table ${table}`
}

/** What the kernel holds one route for at a time. */
function slotOf(route: TableRoute): string {
  const { family, destination } = route
  const text = destination === undefined ? 'default' : formatPrefix(parsePrefix(destination))
  // A prefix of no length is the default route, spelt otherwise.
  return `${family} ${text.endsWith('/0') ? 'default' : text} ${metricOf(route)}`
}

function keyOf(route: TableRoute): string {
  const { type, gateway, index, source, isOnlink = false } = route
  const text = (address: string | undefined): string =>
    address === undefined ? '' : formatAddress(parseAddress(address))
  return [slotOf(route), type, text(gateway), index ?? '', text(source), isOnlink].join(' ')
}
