/**
 * Links, addresses and routes of the namespace of the calling moment, as typed records
 * (rtnetlink(7); include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h).
 */

import { addressBytes, addressOfBytes, formatAddress, parseAddress } from '../base/ip.js'
import { attribute, nested, parseAttributes } from './attribute.js'
import { ignoring, KernelError } from './error.js'
import { formatMac, macBytes } from './mac.js'
import {
  dumpNetlink,
  getNetlink,
  NETLINK_ROUTE,
  NLM_F,
  sendNetlink,
  sendNetlinkAside,
  type NetlinkMessage,
  type NetlinkRequest,
} from './netlink.js'

const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
} as const
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  PROTINFO: 12,
  NET_NS_FD: 28,
} as const
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const IFLA_INFO_SLAVE_DATA = 5
const VETH_INFO_PEER = 1
const IFLA_BRPORT_ISOLATED = 33
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4, FLAGS: 8 } as const
const IFA_F_NODAD = 0x02
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, TABLE: 15 } as const
const IFF_UP = 1
const AF_UNSPEC = 0
const AF_INET = 2
const AF_BRIDGE = 7
const AF_INET6 = 10
const RT_TABLE_MAIN = 254
const RTPROT_BOOT = 3
const RTN_UNICAST = 1
const LINK_BYTES = 16

export interface Link {
  readonly index: number
  readonly name: string
  readonly kind: string | undefined
  readonly mac: string
  readonly mtu: number
  readonly isUp: boolean
  readonly master: number | undefined
  /** The index of a veth's other end, in that end's namespace. */
  readonly peer: number | undefined
  /** Whether a bridge port is kept from the other isolated ones. */
  readonly isIsolated: boolean
  /** ifalias: what somebody wrote down about the link, ours with our mark. */
  readonly alias: string
}

export interface LinkAddress {
  readonly index: number
  readonly address: string
  readonly prefixLength: number
  /** RT_SCOPE: 0 universe, 253 link, 254 host. */
  readonly scope: number
}

export interface Route {
  readonly family: 4 | 6
  /** CIDR; undefined: the default route. */
  readonly destination: string | undefined
  readonly gateway: string | undefined
  readonly index: number | undefined
  readonly table: number
  readonly type: number
}

export type RouteNews =
  | { readonly kind: 'link'; readonly name: string }
  | { readonly kind: 'lost-address'; readonly index: number }

export interface LinkChange {
  readonly name?: string
  readonly mac?: string
  readonly mtu?: number
  readonly alias?: string
  readonly isUp?: boolean
  /** 0 takes it out of its bridge. */
  readonly master?: number
}

/** Every link. */
export function listLinks(): readonly Link[] {
  const payload = composeLink(AF_UNSPEC, 0)
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETLINK, payload, attempt: 'list links' }
  return dumpNetlink(request).flatMap(parseLink)
}

/** One link by name, undefined where there is none. Costs the same whatever else there is. */
export function getLink(name: string): Link | undefined {
  const payload = Buffer.concat([composeLink(AF_UNSPEC, 0), attribute(IFLA.IFNAME, name)])
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETLINK, flags: 0, payload }
  try {
    return getNetlink({ ...request, attempt: `look up link "${name}"` }).flatMap(parseLink)[0]
  } catch (error) {
    if (error instanceof KernelError && error.code === 'ENODEV') return undefined
    throw error
  }
}

/** A bridge without STP, down. Throws KernelError `EEXIST`. */
export function createBridge(name: string, change: LinkChange = {}): void {
  createLink(name, 'bridge', change, [])
}

/** The end of a new veth pair. */
export interface VethEnd {
  readonly name: string
  readonly mac?: string
  readonly mtu?: number
}

/**
 * A veth pair: one end here, the other in the namespace `peerNetns`, which stays down: the kernel
 * refuses to bring it up before the pair is joined. Throws KernelError `EEXIST`.
 */
export function createVeth(
  here: VethEnd & { readonly master?: number; readonly isUp?: boolean },
  peer: VethEnd,
  peerNetns: { readonly fd: number },
): void {
  const peerPayload = Buffer.concat([
    composeLink(AF_UNSPEC, 0),
    attribute(IFLA.IFNAME, peer.name),
    attribute(IFLA.NET_NS_FD, peerNetns.fd),
    ...changeAttributes({ ...(peer.mac && { mac: peer.mac }), ...(peer.mtu && { mtu: peer.mtu }) }),
  ])
  const data = nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peerPayload))
  createLink(here.name, 'veth', here, [data])
}

/** Changes what differs. Throws KernelError `ENODEV`. */
export function updateLink(index: number, change: LinkChange): void {
  const payload = Buffer.concat([
    composeLink(AF_UNSPEC, index, change.isUp),
    ...(change.name === undefined ? [] : [attribute(IFLA.IFNAME, change.name)]),
    ...changeAttributes(change),
  ])
  send(RTM.NEWLINK, 0, payload, `change link ${index}`)
}

/** Whether a bridge port may talk to the other isolated ones: no (`icc=false`). */
export function setPortIsolated(index: number, isIsolated: boolean): void {
  const payload = Buffer.concat([
    composeLink(AF_BRIDGE, index),
    nested(IFLA.PROTINFO, attribute(IFLA_BRPORT_ISOLATED, Buffer.from([isIsolated ? 1 : 0]))),
  ])
  // As RTM_NEWLINK the kernel acknowledges it and does nothing.
  send(RTM.SETLINK, 0, payload, `isolate bridge port ${index}`)
}

/** Removes a link; with a veth its peer goes too. One that is gone already is no error. */
export function removeLink(index: number): void {
  ignoring('ENODEV', () =>
    send(RTM.DELLINK, 0, composeLink(AF_UNSPEC, index), `remove link ${index}`),
  )
}

/**
 * As `removeLink`, beside the event loop: down at once, so that its traffic ends, and gone in its
 * turn, as the kernel takes tens of milliseconds for a veth pair.
 */
export async function removeLinkAside(index: number, turn: Promise<unknown>): Promise<void> {
  const request = (type: number, isUp: boolean | undefined, attempt: string): NetlinkRequest => ({
    protocol: NETLINK_ROUTE,
    type,
    flags: 0,
    payload: composeLink(AF_UNSPEC, index, isUp),
    attempt: `${attempt} link ${index}`,
  })
  // Both before the first wait: they belong to the namespace of the calling moment.
  const down = sendNetlinkAside(request(RTM.NEWLINK, false, 'take down'), Promise.resolve())
  const next = Promise.allSettled([turn, down])
  try {
    await sendNetlinkAside(request(RTM.DELLINK, undefined, 'remove'), next)
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'ENODEV') throw error
  }
}

/** Moves a link, which arrives down and without addresses. Throws KernelError `EEXIST` on its name. */
export function moveLinkToNetns(index: number, netns: { readonly fd: number }): void {
  const payload = Buffer.concat([
    composeLink(AF_UNSPEC, index),
    attribute(IFLA.NET_NS_FD, netns.fd),
  ])
  send(RTM.NEWLINK, 0, payload, `move link ${index} to another namespace`)
}

/** The loopback, which every program expects. */
export function setLoopbackUp(): void {
  updateLink(1, { isUp: true })
}

/** Addresses of all links, or of one. */
export function listAddresses(index?: number): readonly LinkAddress[] {
  const payload = Buffer.alloc(8)
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETADDR, payload, attempt: 'list addresses' }
  const all = dumpNetlink(request).flatMap(parseAddressMessage)
  return index === undefined ? all : all.filter(one => one.index === index)
}

/** Adds `ADDRESS/LENGTH`; one that is there is no error. IPv6 without duplicate detection. */
export function addAddress(index: number, cidr: string): void {
  const { payload, attempt } = composeAddress(index, cidr)
  ignoring('EEXIST', () => send(RTM.NEWADDR, NLM_F.CREATE | NLM_F.EXCL, payload, `add ${attempt}`))
}

export function removeAddress(index: number, cidr: string): void {
  const { payload, attempt } = composeAddress(index, cidr)
  ignoring('EADDRNOTAVAIL', () => send(RTM.DELADDR, 0, payload, `remove ${attempt}`))
}

/** Routes of the main table, unicast. */
export function listRoutes(): readonly Route[] {
  const payload = Buffer.alloc(12)
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETROUTE, payload, attempt: 'list routes' }
  return dumpNetlink(request)
    .flatMap(parseRoute)
    .filter(route => route.table === RT_TABLE_MAIN && route.type === RTN_UNICAST)
}

/** Adds the default route of a family, via `gateway` on link `index`. */
export function addDefaultRoute(gateway: string, index: number): void {
  const { payload, attempt } = composeDefaultRoute(gateway, index)
  send(RTM.NEWROUTE, NLM_F.CREATE | NLM_F.EXCL, payload, `add ${attempt}`)
}

export function removeDefaultRoute(gateway: string, index: number): void {
  const { payload, attempt } = composeDefaultRoute(gateway, index)
  ignoring('ESRCH', () => send(RTM.DELROUTE, 0, payload, `remove ${attempt}`))
}

/** What a route monitor heard of a link or an address; undefined for anything else. */
export function parseRouteNews({ type, payload }: NetlinkMessage): RouteNews | undefined {
  if (type === RTM.NEWLINK || type === RTM.DELLINK) {
    const link = parseLink({ type: RTM.NEWLINK, payload })[0]
    return link && { kind: 'link', name: link.name }
  }
  if (type === RTM.DELADDR && payload.length >= 8) {
    return { kind: 'lost-address', index: payload.readUInt32LE(4) }
  }
  return undefined
}

function createLink(name: string, kind: string, change: LinkChange, info: readonly Buffer[]): void {
  const payload = Buffer.concat([
    composeLink(AF_UNSPEC, 0, change.isUp),
    attribute(IFLA.IFNAME, name),
    // A new link takes no alias: the kernel reads it in RTM_SETLINK only.
    ...changeAttributes({
      ...(change.mac && { mac: change.mac }),
      ...(change.mtu && { mtu: change.mtu }),
      ...(change.master && { master: change.master }),
    }),
    nested(IFLA.LINKINFO, attribute(IFLA_INFO_KIND, kind), ...info),
  ])
  send(RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, payload, `create ${kind} "${name}"`)
}

function send(type: number, flags: number, payload: Buffer, attempt: string): void {
  sendNetlink({ protocol: NETLINK_ROUTE, type, flags, payload, attempt })
}

/** struct ifinfomsg. */
function composeLink(family: number, index: number, isUp?: boolean): Buffer {
  const message = Buffer.alloc(LINK_BYTES)
  message.writeUInt8(family, 0)
  message.writeInt32LE(index, 4)
  if (isUp !== undefined) {
    message.writeUInt32LE(isUp ? IFF_UP : 0, 8)
    message.writeUInt32LE(IFF_UP, 12)
  }
  return message
}

function changeAttributes(change: LinkChange): Buffer[] {
  return [
    ...(change.mac === undefined ? [] : [attribute(IFLA.ADDRESS, macBytes(change.mac))]),
    ...(change.mtu === undefined ? [] : [attribute(IFLA.MTU, change.mtu)]),
    ...(change.alias === undefined ? [] : [attribute(IFLA.IFALIAS, Buffer.from(change.alias))]),
    ...(change.master === undefined ? [] : [attribute(IFLA.MASTER, change.master)]),
  ]
}

/** struct ifaddrmsg. */
function composeAddress(index: number, cidr: string): { payload: Buffer; attempt: string } {
  const [text = '', length = ''] = cidr.split('/')
  const address = parseAddress(text)
  const bytes = addressBytes(address)
  const message = Buffer.alloc(8)
  message.writeUInt8(address.family === 4 ? AF_INET : AF_INET6, 0)
  message.writeUInt8(Number(length), 1)
  message.writeUInt32LE(index, 4)
  const isV6 = address.family === 6
  const payload = Buffer.concat([
    message,
    attribute(IFA.LOCAL, bytes),
    attribute(IFA.ADDRESS, bytes),
    ...(isV6 ? [attribute(IFA.FLAGS, IFA_F_NODAD)] : broadcastOf(bytes, Number(length))),
  ])
  return { payload, attempt: `address ${cidr} on link ${index}` }
}

function broadcastOf(bytes: Uint8Array, length: number): Buffer[] {
  if (length > 30) return []
  const view = Buffer.from(bytes)
  const host = length === 0 ? 0xffffffff : (2 ** (32 - length) - 1) >>> 0
  view.writeUInt32BE((view.readUInt32BE(0) | host) >>> 0, 0)
  return [attribute(IFA.BROADCAST, view)]
}

/** struct rtmsg. */
function composeDefaultRoute(gateway: string, index: number): { payload: Buffer; attempt: string } {
  const address = parseAddress(gateway)
  const message = Buffer.alloc(12)
  message.writeUInt8(address.family === 4 ? AF_INET : AF_INET6, 0)
  message.writeUInt8(RT_TABLE_MAIN, 4)
  message.writeUInt8(RTPROT_BOOT, 5)
  message.writeUInt8(RTN_UNICAST, 7)
  const payload = Buffer.concat([
    message,
    attribute(RTA.GATEWAY, addressBytes(address)),
    attribute(RTA.OIF, index),
  ])
  return { payload, attempt: `the default route via ${gateway}` }
}

function parseLink({ type, payload }: NetlinkMessage): Link[] {
  if (type !== RTM.NEWLINK || payload.length < LINK_BYTES) return []
  const attributes = parseAttributes(payload.subarray(LINK_BYTES))
  const info = attributes.get(IFLA.LINKINFO)
  const kind = info && parseAttributes(info).get(IFLA_INFO_KIND)
  const port = info && parseAttributes(info).get(IFLA_INFO_SLAVE_DATA)
  const isolated = port && parseAttributes(port).get(IFLA_BRPORT_ISOLATED)
  return [
    {
      index: payload.readInt32LE(4),
      name: textOf(attributes.get(IFLA.IFNAME)) ?? '',
      kind: textOf(kind),
      mac: formatMac(attributes.get(IFLA.ADDRESS) ?? Buffer.alloc(0)),
      mtu: attributes.get(IFLA.MTU)?.readUInt32LE(0) ?? 0,
      isUp: (payload.readUInt32LE(8) & IFF_UP) !== 0,
      master: attributes.get(IFLA.MASTER)?.readUInt32LE(0),
      peer: attributes.get(IFLA.LINK)?.readUInt32LE(0),
      isIsolated: isolated?.[0] === 1,
      alias: textOf(attributes.get(IFLA.IFALIAS)) ?? '',
    },
  ]
}

function parseAddressMessage({ type, payload }: NetlinkMessage): LinkAddress[] {
  if (type !== RTM.NEWADDR || payload.length < 8) return []
  const attributes = parseAttributes(payload.subarray(8))
  const bytes = attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS)
  if (bytes === undefined) return []
  return [
    {
      index: payload.readUInt32LE(4),
      address: formatAddress(addressOfBytes(bytes)),
      prefixLength: payload.readUInt8(1),
      scope: payload.readUInt8(3),
    },
  ]
}

function parseRoute({ type, payload }: NetlinkMessage): Route[] {
  const family = payload[0]
  if (type !== RTM.NEWROUTE || (family !== AF_INET && family !== AF_INET6)) return []
  const attributes = parseAttributes(payload.subarray(12))
  const destination = attributes.get(RTA.DST)
  const gateway = attributes.get(RTA.GATEWAY)
  return [
    {
      family: family === AF_INET ? 4 : 6,
      destination:
        destination && `${formatAddress(addressOfBytes(destination))}/${payload.readUInt8(1)}`,
      gateway: gateway && formatAddress(addressOfBytes(gateway)),
      index: attributes.get(RTA.OIF)?.readUInt32LE(0),
      table: attributes.get(RTA.TABLE)?.readUInt32LE(0) ?? payload.readUInt8(4),
      type: payload.readUInt8(7),
    },
  ]
}

function textOf(bytes: Buffer | undefined): string | undefined {
  return bytes?.toString('utf8').replace(/\0.*$/s, '')
}
