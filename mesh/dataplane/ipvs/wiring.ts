/**
 * The namespace's links: one to the host, one to the ingress network. Compares what the kernel has with
 * what is to be and writes the difference.
 */

import {
  addressOfBytes,
  formatAddress,
  parseAddress,
  parsePrefix,
  prefixContains,
} from '../../../src/base/ip.js'
import { macBytes } from '../../../src/kernel/mac.js'
import { runInNetns, type Netns } from '../../../src/kernel/netns.js'
import {
  addAddress,
  addDefaultRoute,
  createVeth,
  getLink,
  listAddresses,
  listRoutes,
  removeAddress,
  removeDefaultRoute,
  removeLink,
  setPortIsolated,
  updateLink,
  type Link,
  type LinkAddress,
} from '../../../src/kernel/rtnetlink.js'
import { MeshError } from '../../error.js'
import type { IngressPlace } from '../../state.js'
import { DOWNLINK, UPLINK } from './program.js'
import type { Occupied, Transit, TransitFamily } from './transit.js'

const LINK_NAME_BYTES = 15

export interface Wiring {
  readonly place: IngressPlace
  readonly transit: Transit
  /** Further addresses of the namespace's end. */
  readonly aliases: Iterable<string>
}

/** The host's name for the namespace's port on the bridge. */
export function portName({ ipvsLink }: Pick<IngressPlace, 'ipvsLink'>): string {
  return `${ipvsLink.slice(0, LINK_NAME_BYTES - 1)}p`
}

/** Where the host's packets go already, in the namespace of the calling moment. */
export function readOccupied({ ipvsLink, subnet4, subnet6 }: IngressPlace): Occupied {
  const link = getLink(ipvsLink)?.index
  const addresses = listAddresses().map(one => ({
    cidr: `${one.address}/${one.prefixLength}`,
    isOwn: one.index === link,
  }))
  const routes = listRoutes().filter(one => one.index !== link)
  return {
    prefixes: [
      ...addresses.filter(one => !one.isOwn).map(one => one.cidr),
      ...routes.flatMap(one => one.destination ?? []),
      ...[subnet4, subnet6].filter(one => one !== undefined),
    ],
    own: addresses.filter(one => one.isOwn).map(one => one.cidr),
  }
}

/**
 * Returns how many differences it found. Acts on `host` and `ingress`. Throws KernelError, MeshError
 * `MESH_NO_DATAPLANE` where the bridge is not there or a link's name is somebody else's.
 */
export function settleWiring(host: Netns, ingress: Netns, wiring: Wiring): number {
  const { place, transit } = wiring
  return (
    settleUplink(host, ingress, place) +
    settleDownlink(host, ingress, place) +
    runInNetns(host, () => settleHostEnd(place, transit)) +
    runInNetns(ingress, () => settleUpEnd(wiring) + settleDownEnd(place))
  )
}

/** Removes both links; with each its other end. Acts on the namespace of the calling moment. */
export function removeWiring(place: Pick<IngressPlace, 'ipvsLink'>): void {
  for (const name of [place.ipvsLink, portName(place)]) {
    const link = getLink(name)
    if (link?.kind === 'veth') removeLink(link.index)
  }
}

/** An address of the namespace's end more. Acts on the namespace of the calling moment. */
export function addAlias(alias: string): void {
  addAddress(requireLink(UPLINK).index, `${alias}/${alias.includes(':') ? 128 : 32}`)
}

function settleUplink(host: Netns, ingress: Netns, { ipvsLink }: IngressPlace): number {
  if (isPair(host, ipvsLink, ingress, UPLINK)) return 0
  clear(host, ipvsLink, ingress, UPLINK)
  runInNetns(host, () => createVeth({ name: ipvsLink }, { name: UPLINK }, ingress))
  return 1
}

function settleDownlink(host: Netns, ingress: Netns, place: IngressPlace): number {
  const { bridge, ipvs } = place
  const name = portName(place)
  const owner = runInNetns(host, () => getLink(bridge))
  if (owner === undefined) {
    throw new MeshError(
      'MESH_NO_DATAPLANE',
      `Cannot balance by IPVS: the bridge "${bridge}" of the ingress network is not there`,
    )
  }
  let differences = 0
  if (!isPair(host, name, ingress, DOWNLINK)) {
    clear(host, name, ingress, DOWNLINK)
    const here = { name, mtu: owner.mtu, master: owner.index }
    const peer = { name: DOWNLINK, mac: ipvs.mac, mtu: owner.mtu }
    runInNetns(host, () => createVeth(here, peer, ingress))
    differences++
  }
  return runInNetns(host, () => {
    const port = requireLink(name)
    if (port.isIsolated) setPortIsolated(port.index, false)
    const isRight = port.isUp && port.master === owner.index
    if (!isRight) updateLink(port.index, { master: owner.index, isUp: true })
    return differences + (port.isIsolated ? 1 : 0) + (isRight ? 0 : 1)
  })
}

function settleHostEnd({ ipvsLink }: IngressPlace, transit: Transit): number {
  const link = requireLink(ipvsLink)
  const wanted = families(transit).map(one => `${one.host}/${one.prefixLength}`)
  return settleUp(link) + settleAddresses(link, [...wanted, ...linkLocals(link.mac, wanted)])
}

function settleUpEnd({ transit, aliases }: Wiring): number {
  const link = requireLink(UPLINK)
  const own = families(transit)
  const base = own.map(one => `${one.ingress}/${one.prefixLength}`)
  const more = [...aliases].map(alias => `${alias}/${alias.includes(':') ? 128 : 32}`)
  // An alias that nothing leads to any more may have living connections.
  const isKept = (address: string): boolean =>
    own.some(one => prefixContains(parsePrefix(one.subnet), parseAddress(address)))
  const differences =
    settleUp(link) +
    settleAddresses(link, [...base, ...more, ...linkLocals(link.mac, base)], isKept)
  return (
    differences +
    settleRoutes(
      link,
      own.map(one => one.host),
    )
  )
}

function settleDownEnd({ ipvs, subnet4, subnet6 }: IngressPlace): number {
  const link = requireLink(DOWNLINK)
  const isRight = link.mac === ipvs.mac
  if (!isRight) updateLink(link.index, { mac: ipvs.mac })
  const wanted = [
    [ipvs.ipv4, subnet4],
    [ipvs.ipv6, subnet6],
  ].flatMap(([address, subnet]) =>
    address === undefined || subnet === undefined
      ? []
      : [`${address}/${parsePrefix(subnet).length}`],
  )
  const all = [...wanted, ...linkLocals(ipvs.mac, wanted)]
  return (isRight ? 0 : 1) + settleUp(link) + settleAddresses(link, all)
}

function settleUp({ index, isUp }: Link): number {
  if (isUp) return 0
  updateLink(index, { isUp: true })
  return 1
}

/** Those of the whole world's scope that are not wanted go; of link-local ones none does. */
function settleAddresses(
  { index }: Link,
  wanted: readonly string[],
  isKept: (address: string) => boolean = () => false,
): number {
  const present = listAddresses(index)
  const cidrOf = (one: LinkAddress): string => `${one.address}/${one.prefixLength}`
  const found = present.map(cidrOf)
  const strange = present
    .filter(one => one.scope === 0 && !wanted.includes(cidrOf(one)) && !isKept(one.address))
    .map(cidrOf)
  const missing = wanted.filter(cidr => !found.includes(cidr))
  for (const cidr of strange) removeAddress(index, cidr)
  for (const cidr of missing) addAddress(index, cidr)
  return strange.length + missing.length
}

/**
 * The link-local address that the kernel makes of a MAC, where there is IPv6 (RFC 4291, appendix A). It
 * asks for neighbours by it when it forwards, and makes no other when somebody took it away.
 */
function linkLocals(mac: string, cidrs: readonly string[]): string[] {
  if (!cidrs.some(cidr => cidr.includes(':'))) return []
  const [first = 0, ...rest] = macBytes(mac)
  const bytes = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)]
  const address = addressOfBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...bytes))
  return [`${formatAddress(address)}/64`]
}

function settleRoutes({ index }: Link, gateways: readonly string[]): number {
  const found = listRoutes().flatMap(({ destination, gateway, index: by }) =>
    destination === undefined ? [{ gateway: gateway ?? '', by }] : [],
  )
  const strange = found.filter(one => !gateways.includes(one.gateway) || one.by !== index)
  const missing = gateways.filter(
    one => !found.some(({ gateway, by }) => gateway === one && by === index),
  )
  for (const { gateway, by } of strange) {
    if (gateway !== '' && by !== undefined) removeDefaultRoute(gateway, by)
  }
  for (const gateway of missing) addDefaultRoute(gateway, index)
  return strange.length + missing.length
}

/** Whether the two are the ends of one pair. */
function isPair(host: Netns, outer: string, ingress: Netns, inner: string): boolean {
  const here = runInNetns(host, () => getLink(outer))
  const there = runInNetns(ingress, () => getLink(inner))
  if (here?.kind !== 'veth' || there?.kind !== 'veth') return false
  return here.peer === there.index && there.peer === here.index
}

/** Makes place for a new pair: what is left of an old one goes. */
function clear(host: Netns, outer: string, ingress: Netns, inner: string): void {
  runInNetns(host, () => {
    const link = getLink(outer)
    if (link !== undefined && link.kind !== 'veth') {
      throw new MeshError(
        'MESH_NO_DATAPLANE',
        `Cannot balance by IPVS: there is a link "${outer}" already that is no veth; remove it`,
      )
    }
    if (link !== undefined) removeLink(link.index)
  })
  runInNetns(ingress, () => {
    const link = getLink(inner)
    if (link !== undefined) removeLink(link.index)
  })
}

function requireLink(name: string): Link {
  const link = getLink(name)
  if (link !== undefined) return link
  throw new MeshError(
    'MESH_NO_DATAPLANE',
    `The link "${name}" of the mesh has just been removed; try again`,
  )
}

function families(transit: Transit): TransitFamily[] {
  return [transit[4], transit[6]].filter(one => one !== undefined)
}
