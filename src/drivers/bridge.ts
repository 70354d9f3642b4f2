/**
 * The bridge driver: one Linux bridge a network, a veth pair an endpoint, one nftables table for all.
 *
 * Ours is what carries our mark in its ifalias; nothing else is ever touched. Every method compares
 * what the kernel has with what is wanted and writes only the difference, so calling one twice writes
 * nothing the second time, and a daemon that comes up adopts what the last one left.
 */

import { readdirSync } from 'node:fs'
import type { Endpoint } from '../catalog/endpoint.js'
import type { Network, NetworkSpec } from '../catalog/network.js'
import { ipvsMacOf } from '../ipam/index.js'
import { runInNetns, type Netns } from '../kernel/netns.js'
import { listTables, queryNft, runNft } from '../kernel/nft.js'
import {
  addAddress,
  addDefaultRoute,
  createBridge,
  createVeth,
  getLink,
  listAddresses,
  listLinks,
  listRoutes,
  removeAddress,
  removeDefaultRoute,
  removeLink,
  removeLinkAside,
  setPortIsolated,
  updateLink,
  type Link,
  type LinkAddress,
  type RouteNews,
} from '../kernel/rtnetlink.js'
import { readSysctl, writeSysctl } from '../kernel/sysctl.js'
import { parseBridgeOptions } from './bridge-options.js'
import { DriverError } from './error.js'
import { composeHostRules, type RuledNetwork } from './host-rules.js'
import { bridgeNames, vethNames } from './link-name.js'

export interface SandboxLinks {
  readonly netns: Netns
  /** The container's name, for the names of links. */
  readonly name: string
  readonly endpoints: readonly { readonly endpoint: Endpoint; readonly network: Network }[]
  /** Ids of the endpoints whose gateways are the default routes. */
  readonly gateway4?: string
  readonly gateway6?: string
}

interface Bridge {
  readonly name: string
  readonly index: number
}

interface Veth {
  readonly name: string
  readonly index: number
  /** The sandbox it leads to, once that is known. */
  readonly netnsId?: string
}

export class BridgeDriver {
  readonly #instance: string
  readonly #table: string
  readonly #innerLinks: readonly string[]
  readonly #bridges = new Map<string, Bridge>()
  readonly #veths = new Map<string, Veth>()
  /** Links on their way out, by the id of their network or endpoint. */
  readonly #leaving = new Map<string, Promise<void>>()
  /** One removal at a time: each holds a thread of the pool. */
  #lastRemoval: Promise<unknown> = Promise.resolve()
  #rules = ''
  /** How the kernel lists what `#rules` made, to tell when somebody changed it. */
  #listing = ''

  /**
   * `instance` marks what is ours; `table` is our nftables table in the host's namespace; what leaves by
   * `innerLinks` keeps its address.
   */
  constructor(options: {
    readonly instance: string
    readonly table: string
    readonly innerLinks?: readonly string[]
  }) {
    this.#innerLinks = options.innerLinks ?? []
    this.#instance = options.instance
    this.#table = options.table
    for (const { name, index, alias } of listLinks()) {
      const [kind, id] = this.#parseMark(alias)
      if (kind === 'endpoint' && id !== undefined) this.#veths.set(id, { name, index })
    }
  }

  /** Throws DriverError for options that cannot be honoured. */
  check(spec: NetworkSpec): void {
    if (spec.driver !== 'bridge') return
    const { linkName } = parseBridgeOptions(spec)
    const link = linkName === undefined ? undefined : getLink(linkName)
    if (link === undefined || this.#parseMark(link.alias)[0] === 'network') return
    throw new DriverError(
      'DRIVER_NAME_IN_USE',
      `Network "${spec.name}": there is a link "${linkName}" already; choose another name for the bridge`,
    )
  }

  bridgeOf(networkId: string): string | undefined {
    return this.#bridges.get(networkId)?.name
  }

  /**
   * Makes bridges and host rules match `networks`, which is all of them; bridges of ours that are not
   * listed go. A network that cannot be made does not keep the others from it: returns, by network id,
   * the KernelError or DriverError `DRIVER_NAME_IN_USE` of each. Throws KernelError.
   */
  reconcileNetworks(networks: readonly Network[]): ReadonlyMap<string, unknown> {
    const wanted = networks.filter(({ driver }) => driver === 'bridge')
    const ids = new Set(wanted.map(({ id }) => id))
    for (const { alias, index } of listLinks()) {
      const [kind, id] = this.#parseMark(alias)
      if (kind === 'network' && id !== undefined && !ids.has(id)) this.#letGo(id, index)
    }
    for (const id of this.#bridges.keys()) if (!ids.has(id)) this.#bridges.delete(id)
    const addresses = listAddresses()
    const failures = new Map<string, unknown>()
    for (const network of wanted) {
      try {
        this.#reconcileBridge(network, addresses)
      } catch (error) {
        // The others must not wait for this one.
        failures.set(network.id, error)
        this.#bridges.delete(network.id)
      }
    }
    const routed = wanted.filter(({ isInternal, isIngress }) => !isInternal || isIngress)
    if (routed.length > 0) enableForwarding(routed)
    this.#reconcileRules(wanted.filter(({ id }) => this.#bridges.has(id)))
    return failures
  }

  /**
   * Whether something of ours is not as it was made, by what the kernel told. Most news are of our own
   * doing: those cost a look at one link and no more.
   */
  isHurtBy(news: RouteNews): boolean {
    const bridges = [...this.#bridges.values()]
    if (news.kind === 'lost-address') return bridges.some(({ index }) => index === news.index)
    const isBridge = bridges.some(({ name }) => name === news.name)
    const isVeth = [...this.#veths.values()].some(({ name }) => name === news.name)
    if (!isBridge && !isVeth) return false
    const link = getLink(news.name)
    return link?.isUp !== true || (isVeth && link.master === undefined)
  }

  /** Whether our table on the host is as the last reconcile left it. */
  hasRules(): boolean {
    return this.#rules === '' || this.#isIntact(this.#bridges.size > 0)
  }

  /** Makes the links, addresses and default routes of one sandbox match. Throws KernelError. */
  reconcileSandbox(sandbox: SandboxLinks): void {
    const wanted = new Set(sandbox.endpoints.map(({ endpoint }) => endpoint.id))
    for (const [id, { netnsId }] of this.#veths) {
      if (netnsId === sandbox.netns.id && !wanted.has(id)) this.#detach(sandbox.netns, id)
    }
    for (const { endpoint, network } of sandbox.endpoints) {
      this.#reconcileVeth(sandbox, endpoint, network)
    }
    runInNetns(sandbox.netns, () => {
      for (const { endpoint, network } of sandbox.endpoints) reconcileInside(endpoint, network)
      reconcileDefaultRoutes(sandbox)
    })
  }

  /**
   * Removes the links of endpoints: no traffic from here on, gone once `settled()`. Those that have
   * none are no error.
   */
  removeEndpoints(endpointIds: readonly string[]): void {
    for (const id of endpointIds) {
      const veth = this.#veths.get(id)
      if (veth === undefined) continue
      // By its index, which the kernel gives to no other link, and without a look: that would wait
      // for the removal before.
      this.#letGo(id, veth.index)
      this.#veths.delete(id)
    }
  }

  /**
   * Resolves when the links removed so far are gone, or those of some endpoints. Rejects with a
   * KernelError where one stays.
   */
  async settled(endpointIds?: readonly string[]): Promise<void> {
    const ids = endpointIds ?? [...this.#leaving.keys()]
    await Promise.all(ids.flatMap(id => this.#leaving.get(id) ?? []))
  }

  /** Removes links of ours whose endpoint is not among `endpointIds`, as a crash may leave them. */
  sweep(endpointIds: ReadonlySet<string>): void {
    const stale = [...this.#veths.keys()].filter(id => !endpointIds.has(id))
    this.removeEndpoints(stale)
  }

  /** Without its routes, which would be in the way of those of the next network. */
  #detach(netns: Netns, endpointId: string): void {
    const peer = this.#findVeth(endpointId)?.peer
    const isInside = (link: Link): boolean => link.kind === 'veth' && link.index === peer
    runInNetns(netns, () => {
      const inside = listLinks().find(isInside)
      if (inside !== undefined) updateLink(inside.index, { isUp: false })
    })
    this.removeEndpoints([endpointId])
  }

  /** Down at once; the kernel takes its time for the rest, and batches where a namespace ends. */
  #letGo(id: string, index: number): void {
    if (this.#leaving.has(id)) return
    const gone = removeLinkAside(index, this.#lastRemoval)
    this.#leaving.set(id, gone)
    this.#lastRemoval = gone.catch(() => undefined).finally(() => this.#leaving.delete(id))
  }

  #reconcileBridge(network: Network, addresses: readonly LinkAddress[]): void {
    const options = parseBridgeOptions(network)
    const link = this.#findBridge(network) ?? this.#createBridge(network)
    this.#bridges.set(network.id, { name: link.name, index: link.index })
    const alias = this.#mark('network', network.id)
    if (link.alias !== alias || link.mtu !== options.mtu) {
      updateLink(link.index, { alias, mtu: options.mtu })
    }
    const prefix = `net.ipv6.conf.${link.name}`
    writeOptional(`${prefix}.disable_ipv6`, network.hasIpv6 ? '0' : '1')
    writeOptional(`${prefix}.accept_ra`, '0')
    const present = addresses.filter(({ index, scope }) => index === link.index && scope === 0)
    reconcileAddresses(link.index, present, network.subnets.flatMap(gatewayCidr))
    if (!link.isUp) updateLink(link.index, { isUp: true })
  }

  #findBridge(network: Network): Link | undefined {
    const known = this.#bridges.get(network.id)
    const names = known === undefined ? this.#namesOf(network) : [known.name]
    const mark = this.#mark('network', network.id)
    return names.map(getLink).find(link => link?.alias === mark)
  }

  #createBridge(network: Network): Link {
    for (const name of this.#namesOf(network)) {
      if (getLink(name) !== undefined) continue
      // Its own, or it takes the lowest of its ports' and changes under its neighbours' caches.
      createBridge(name, { mac: bridgeMac(network) })
      const link = getLink(name)
      if (link !== undefined) return link
    }
    throw new DriverError(
      'DRIVER_NAME_IN_USE',
      `Cannot make a bridge for network "${network.name}": somebody else's link has the name ${this.#namesOf(network).join(', ')}`,
    )
  }

  #namesOf(network: Network): readonly string[] {
    const { linkName } = parseBridgeOptions(network)
    return linkName === undefined ? bridgeNames(network) : [linkName]
  }

  #reconcileVeth(sandbox: SandboxLinks, endpoint: Endpoint, network: Network): void {
    const bridge = this.#bridges.get(network.id)
    if (bridge === undefined) {
      throw new DriverError(
        'DRIVER_NETWORK_MISSING',
        `Cannot attach "${sandbox.name}": network "${network.name}" has no bridge`,
      )
    }
    const { mtu, isOpen } = parseBridgeOptions(network)
    const existing = this.#findVethTo(sandbox, endpoint)
    const link = existing ?? this.#createVeth(sandbox, endpoint, bridge, mtu)
    this.#veths.set(endpoint.id, {
      name: link.name,
      index: link.index,
      netnsId: sandbox.netns.id,
    })
    if (existing !== undefined) {
      const isRight = link.master === bridge.index && link.isUp && link.mtu === mtu
      if (!isRight) updateLink(link.index, { master: bridge.index, isUp: true, mtu })
    }
    if (link.isIsolated === isOpen) setPortIsolated(link.index, !isOpen)
  }

  #findVeth(endpointId: string): Link | undefined {
    const name = this.#veths.get(endpointId)?.name
    const link = name === undefined ? undefined : getLink(name)
    return link?.alias === this.#mark('endpoint', endpointId) ? link : undefined
  }

  /** The host's end where the other one is in the sandbox; one that leads elsewhere goes. */
  #findVethTo(sandbox: SandboxLinks, endpoint: Endpoint): Link | undefined {
    const link = this.#findVeth(endpoint.id)
    if (link === undefined) return undefined
    const inside = runInNetns(sandbox.netns, () => getLink(endpoint.interfaceName))
    if (inside?.kind === 'veth' && inside.index === link.peer && inside.peer === link.index) {
      return link
    }
    removeLink(link.index)
    return undefined
  }

  #createVeth(sandbox: SandboxLinks, endpoint: Endpoint, bridge: Bridge, mtu: number): Link {
    for (const name of vethNames(sandbox.name, endpoint.id)) {
      if (getLink(name) !== undefined) continue
      const peer = { name: endpoint.interfaceName, mac: endpoint.mac, mtu }
      createVeth({ name, mtu, master: bridge.index, isUp: true }, peer, sandbox.netns)
      const link = getLink(name)
      if (link === undefined) break
      updateLink(link.index, { alias: this.#mark('endpoint', endpoint.id) })
      return link
    }
    throw new DriverError(
      'DRIVER_NAME_IN_USE',
      `Cannot attach "${sandbox.name}": no name is free for its link on the host`,
    )
  }

  #reconcileRules(networks: readonly Network[]): void {
    const ruled = networks.map((network): RuledNetwork => {
      const { isMasqueraded, isOpen } = parseBridgeOptions(network)
      const bridge = this.#bridges.get(network.id)?.name ?? ''
      const subnets = network.subnets.map(({ subnet }) => subnet)
      const { isInternal, isIngress = false } = network
      const ruled = { bridge, subnets, isInternal, isOpen, isMasqueraded, isIngress }
      return isIngress ? { ...ruled, ipvsMac: ipvsMacOf(bridgeMac(network)) } : ruled
    })
    const rules = composeHostRules(this.#table, ruled, this.#innerLinks)
    const isWanted = ruled.length > 0
    if (rules === this.#rules && this.#isIntact(isWanted)) return
    if (isWanted || this.#hasTable()) runNft(rules)
    this.#rules = rules
    this.#listing = isWanted ? this.#listRules() : ''
  }

  #isIntact(isWanted: boolean): boolean {
    if (this.#hasTable() !== isWanted) return false
    return !isWanted || this.#listRules() === this.#listing
  }

  #hasTable(): boolean {
    return listTables().some(({ family, name }) => family === 'inet' && name === this.#table)
  }

  /** Without handles, which a restored rule has others of. */
  #listRules(): string {
    const listing = queryNft(`list table inet ${this.#table}`)
    return JSON.stringify(listing, (key, value: unknown) => (key === 'handle' ? 0 : value))
  }

  #mark(kind: 'network' | 'endpoint', id: string): string {
    return `portolan:${this.#instance}:${kind}:${id}`
  }

  #parseMark(alias: string): readonly [kind: string | undefined, id: string | undefined] {
    const [product, instance, kind, id] = alias.split(':')
    return product === 'portolan' && instance === this.#instance
      ? [kind, id]
      : [undefined, undefined]
  }
}

function reconcileInside(endpoint: Endpoint, network: Network): void {
  const link = getLink(endpoint.interfaceName)
  if (link === undefined) return
  const prefix = `net.ipv6.conf.${link.name}`
  writeOptional(`${prefix}.disable_ipv6`, network.hasIpv6 ? '0' : '1')
  writeOptional(`${prefix}.accept_ra`, '0')
  if (link.mac !== endpoint.mac) updateLink(link.index, { mac: endpoint.mac })
  const cidrs = [endpoint.ipv4, endpoint.ipv6].filter(cidr => cidr !== undefined)
  const present = listAddresses(link.index).map(formatCidr)
  for (const cidr of cidrs) if (!present.includes(cidr)) addAddress(link.index, cidr)
  if (!link.isUp) updateLink(link.index, { isUp: true })
}

/** One default route a family, through our chosen gateway. Routes that are not default stay. */
function reconcileDefaultRoutes(sandbox: SandboxLinks): void {
  // What leaves by the ingress is the mesh's to say.
  const links = sandbox.endpoints
    .filter(({ network }) => !network.isIngress)
    .map(({ endpoint }) => getLink(endpoint.interfaceName)?.index)
  const defaults = listRoutes().filter(
    // Others, such as a VPN's, are the container's own.
    ({ destination, index }) => destination === undefined && links.includes(index),
  )
  for (const family of [4, 6] as const) {
    const wanted = defaultRouteOf(sandbox, family)
    const isWanted = (route: (typeof defaults)[number]): boolean =>
      route.gateway === wanted?.gateway && route.index === wanted?.index
    const present = defaults.filter(route => route.family === family)
    for (const route of present) {
      if (isWanted(route) || route.gateway === undefined || route.index === undefined) continue
      removeDefaultRoute(route.gateway, route.index)
    }
    if (wanted && !present.some(isWanted)) addDefaultRoute(wanted.gateway, wanted.index)
  }
}

function defaultRouteOf(
  sandbox: SandboxLinks,
  family: 4 | 6,
): { readonly gateway: string; readonly index: number } | undefined {
  const id = family === 4 ? sandbox.gateway4 : sandbox.gateway6
  const found = sandbox.endpoints.find(({ endpoint }) => endpoint.id === id)
  const gateway = found?.network.subnets
    .map(subnet => subnet.gateway)
    .find(address => address !== undefined && address.includes(':') === (family === 6))
  const link = found && getLink(found.endpoint.interfaceName)
  return gateway !== undefined && link ? { gateway, index: link.index } : undefined
}

/** Of a network's bridge: locally administered, and the same after a re-creation. */
export function bridgeMac({ id }: Pick<Network, 'id'>): string {
  return ['02', ...(id.match(/../g) ?? []).slice(0, 5)].join(':')
}

/** Addresses of a bridge of ours: exactly these, and what the kernel adds by itself. */
function reconcileAddresses(
  index: number,
  present: readonly LinkAddress[],
  cidrs: readonly string[],
): void {
  for (const cidr of cidrs) {
    if (!present.some(address => formatCidr(address) === cidr)) addAddress(index, cidr)
  }
  for (const address of present) {
    const cidr = formatCidr(address)
    if (!cidrs.includes(cidr)) removeAddress(index, cidr)
  }
}

function gatewayCidr(subnet: { readonly subnet: string; readonly gateway?: string }): string[] {
  if (subnet.gateway === undefined) return []
  return [`${subnet.gateway}/${subnet.subnet.split('/')[1] ?? ''}`]
}

function formatCidr(address: { readonly address: string; readonly prefixLength: number }): string {
  return `${address.address}/${address.prefixLength}`
}

/** Routing is the host's own switch: turned on where it is off, and left on, as Docker does. */
function enableForwarding(networks: readonly Network[]): void {
  writeSysctl('net.ipv4.ip_forward', '1')
  const hasIpv6 = networks.some(network => network.hasIpv6)
  const forwarding = 'net.ipv6.conf.all.forwarding'
  if (!hasIpv6 || readSysctl(forwarding) !== '0') return
  // A router ignores router advertisements unless told otherwise: the host would lose its way out.
  for (const name of readdirSync('/proc/sys/net/ipv6/conf')) {
    // Names with dots, VLANs for one, would be read as two parts of the key.
    if (name.includes('.')) continue
    const key = `net.ipv6.conf.${name}.accept_ra`
    if (readSysctl(key) === '1') writeOptional(key, '2')
  }
  writeSysctl(forwarding, '1')
}

/** A kernel without IPv6 has no such keys. */
function writeOptional(key: string, value: string): void {
  if (readSysctl(key) !== undefined) writeSysctl(key, value)
}
