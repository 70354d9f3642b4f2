/** Networks by command: create, remove, connect, disconnect, prune. Checks first, then acts. */

import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { formatAddress, parseAddress, parsePrefix } from '../base/ip.js'
import type { ConnectRequest, CreateNetworkRequest } from '../api/contract.js'
import { findNetwork, type Snapshot } from '../catalog/catalog.js'
import { CatalogError, checkDnsName, checkEntityName } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import type { Network, NetworkSpec } from '../catalog/network.js'
import type { Attachment } from '../catalog/service.js'
import { defaultPools, resolveSubnets, type Pool, type Taken } from '../ipam/index.js'
import { readSysctl } from '../kernel/sysctl.js'
import { ipvsAddressName } from '../plan/mesh.js'
import { declarationOf } from '../plan/project.js'
import type { AddressDraft, Addresses } from './addresses.js'
import { requireContainer } from './find.js'
import type { State } from './state.js'

/** What the host has already, so that no network is put over it. */
export interface HostView {
  taken(): readonly Taken[]
}

/** The kernel's side of networks. */
export interface NetworkEffects {
  /** Throws a DriverError for options that the driver cannot honour. */
  check(spec: NetworkSpec): void
  /**
   * Makes bridges and rules match the catalog. Throws what went wrong with one of `concerned`, of all
   * networks where that is absent.
   */
  reconcile(concerned?: readonly string[]): void
  /** Makes the sandbox of a running container match the catalog. */
  reconcileSandbox(container: Container): Promise<void>
  /** Resolves when the links removed so far are gone. */
  settled(): Promise<void>
}

export interface NetworksOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly host: HostView
  readonly effects: NetworkEffects
  /** Of this daemon: seeds the unique-local prefix. */
  readonly instance: string
}

export class Networks {
  readonly #state: State
  readonly #addresses: Addresses
  readonly #host: HostView
  readonly #effects: NetworkEffects
  readonly #pools: readonly Pool[]

  constructor(options: NetworksOptions) {
    this.#state = options.state
    this.#addresses = options.addresses
    this.#host = options.host
    this.#effects = options.effects
    this.#pools = defaultPools(options.instance)
  }

  /** `bridge`, `host` and `none`, at a daemon's first start. */
  async createBuiltins(): Promise<void> {
    const missing = (['bridge', 'host', 'none'] as const).filter(
      name => findNetwork(this.#state.snapshot, name) === undefined,
    )
    const networks: Network[] = []
    for (const name of missing) {
      const spec = { ...emptySpec(name, name), hasIpv4: name === 'bridge' }
      networks.push(this.resolve(spec, { isBuiltin: true, also: networks }))
    }
    if (networks.length === 0) return
    await this.#state.declare(networks.map(network => ({ op: 'put-network', network })))
  }

  /**
   * The network that `spec` would become: checked, subnets chosen, nothing stored. `also` are networks
   * to be made with it, `except` ids of those to be removed before.
   */
  resolve(
    spec: NetworkSpec,
    options: {
      readonly project?: { readonly name: string; readonly key: string }
      readonly isBuiltin?: boolean
      readonly also?: readonly Network[]
      readonly except?: ReadonlySet<string>
    } = {},
  ): Network {
    checkEntityName('network', spec.name)
    if (options.isBuiltin !== true) this.#effects.check(spec)
    const subnets = resolveSubnets(spec, {
      pools: this.#pools,
      taken: [...this.#host.taken(), ...this.#takenByNetworks(options)],
    })
    return {
      ...spec,
      subnets,
      id: randomBytes(32).toString('hex'),
      declaration: declarationOf(spec),
      ...(options.project && { project: options.project.name, projectKey: options.project.key }),
      isBuiltin: options.isBuiltin ?? false,
      createdAt: new Date().toISOString(),
    }
  }

  /**
   * The node's ingress network, where it is not there yet: made with the first published port. One of
   * its addresses is for the namespace that IPVS balances in.
   */
  ingress(also: readonly Network[]): readonly Network[] {
    if ([...this.#state.snapshot.networks.values()].some(({ isIngress }) => isIngress)) return []
    if (findNetwork(this.#state.snapshot, ingressNetworkName) !== undefined) {
      throw new CatalogError(
        'CATALOG_NAME_IN_USE',
        `Published ports need a network "${ingressNetworkName}" of their own, and there is another of that name; remove it or give it another name`,
      )
    }
    const hasIpv6 = readSysctl('net.ipv6.conf.all.disable_ipv6') !== undefined
    const spec: NetworkSpec = {
      ...emptySpec(ingressNetworkName, 'bridge'),
      subnets: [{ subnet: '0.0.0.0/20', auxAddresses: {} }],
      hasIpv6,
      isInternal: true,
      options: { 'com.docker.network.bridge.enable_icc': 'false' },
    }
    const network = this.resolve(spec, { isBuiltin: true, also })
    return [{ ...network, isIngress: true, subnets: network.subnets.map(withIpvsAddress) }]
  }

  create(request: CreateNetworkRequest): Promise<Network> {
    const spec = specOf(request)
    return this.#state.writing.run(async () => {
      if (findNetwork(this.#state.snapshot, spec.name)?.name === spec.name) {
        throw new CatalogError(
          'CATALOG_NAME_IN_USE',
          `Cannot create network "${spec.name}": there is one of that name; remove it or choose another name`,
        )
      }
      const network = this.resolve(spec)
      await this.#state.declare([{ op: 'put-network', network }])
      try {
        this.#effects.reconcile([network.id])
      } catch (error) {
        // What the kernel refuses is not left behind to be refused at every start.
        await this.#forget(network)
        throw error
      }
      return network
    })
  }

  async remove(network: Network): Promise<void> {
    if (network.isBuiltin) {
      throw new CatalogError('CATALOG_BUILTIN', `Network "${network.name}" is built in and stays`)
    }
    await this.#state.writing.run(async () => {
      const members = membersOf(this.#state.snapshot, network)
      if (members.length > 0) {
        const names = members.map(({ name }) => name).join(', ')
        throw new CatalogError(
          'CATALOG_IN_USE',
          `Cannot remove network "${network.name}": in use by ${names}; disconnect or remove them first`,
        )
      }
      await this.#forget(network)
      this.#effects.reconcile([])
    })
    await this.#effects.settled()
  }

  async #forget(network: Network): Promise<void> {
    await this.#state.declare(
      [{ op: 'remove-network', id: network.id }],
      new Map([[network.id, undefined]]),
    )
    this.#addresses.forget(network.id)
  }

  /** Removes what nobody is on and no project declares; returns the names. */
  async prune(): Promise<string[]> {
    const { networks, projects } = this.#state.snapshot
    const unused = [...networks.values()].filter(
      network =>
        !network.isBuiltin &&
        !projects.has(network.project ?? '') &&
        membersOf(this.#state.snapshot, network).length === 0,
    )
    for (const network of unused) await this.remove(network)
    return unused.map(({ name }) => name)
  }

  connect(network: Network, request: ConnectRequest): Promise<void> {
    for (const alias of request.aliases ?? []) checkDnsName('alias', alias)
    const attachment: Attachment = {
      network: network.name,
      aliases: request.aliases ?? [],
      ...(request.ipv4 !== undefined && { ipv4: canonical(request.ipv4) }),
      ...(request.ipv6 !== undefined && { ipv6: canonical(request.ipv6) }),
      gatewayPriority: request.gatewayPriority ?? 0,
    }
    return this.#state.writing.run(async () => {
      const container = requireContainer(this.#state.snapshot, request.container)
      this.#checkConnect(network, container)
      const draft = this.#addresses.draft()
      try {
        await this.#attach(network, container, attachment, draft)
      } catch (error) {
        draft.rollback()
        throw error
      }
    })
  }

  /** Declares and makes the link; where the link cannot be made, the declaration is taken back. */
  async #attach(
    network: Network,
    container: Container,
    attachment: Attachment,
    draft: AddressDraft,
  ): Promise<void> {
    const { id: containerId, name: containerName } = container
    const holder = { containerId, containerName, isOfService: false }
    const endpoint = draft.lease(holder, network, attachment, nextInterface(container))
    const next = { ...container, endpoints: [...container.endpoints, endpoint] }
    const cursors = this.#addresses.cursors(draft.networkIds)
    await this.#state.declare([{ op: 'put-container', container: next }], cursors)
    try {
      this.#reconcileBuiltin(network)
      await this.#effects.reconcileSandbox(next)
    } catch (error) {
      await this.#state.declare([{ op: 'put-container', container }])
      this.#reconcileBuiltin(network)
      throw error
    }
  }

  disconnect(network: Network, nameOrId: string): Promise<void> {
    return this.#state.writing.run(async () => {
      const container = requireContainer(this.#state.snapshot, nameOrId)
      const gone = container.endpoints.filter(({ networkId }) => networkId === network.id)
      if (network.isIngress) {
        throw new CatalogError(
          'CATALOG_REFUSED',
          `Cannot disconnect "${container.name}" from the ingress network: it has published ports; \`portolan drain ${container.name}\` keeps connections away`,
        )
      }
      if (gone.length === 0) {
        throw new CatalogError(
          'CATALOG_NOT_FOUND',
          `Container "${container.name}" is not on network "${network.name}"`,
        )
      }
      const endpoints = container.endpoints.filter(({ networkId }) => networkId !== network.id)
      const next = { ...container, endpoints }
      await this.#state.declare([{ op: 'put-container', container: next }])
      // Whoever asks meanwhile hears that the name is gone before its link goes.
      await setImmediate()
      await this.#effects.reconcileSandbox(next)
      await this.#effects.settled()
      this.#addresses.release(gone)
      this.#reconcileBuiltin(network)
    })
  }

  /** A built-in bridge comes with its first member and goes with its last; others stand already. */
  #reconcileBuiltin(network: Network): void {
    if (network.isBuiltin) this.#effects.reconcile([network.id])
  }

  #checkConnect(network: Network, container: Container): void {
    const refuse = (why: string): never => {
      throw new CatalogError(
        'CATALOG_REFUSED',
        `Cannot connect "${container.name}" to network "${network.name}": ${why}`,
      )
    }
    if (container.desired === 'removed') refuse('it is being removed')
    if (network.isIngress) refuse('replicas with published ports are put there, and nobody else')
    if (network.driver !== 'bridge') refuse(`a ${network.driver} network takes no connections`)
    if (container.spec.networkMode.kind !== 'networks') {
      refuse(`its network mode is "${container.spec.networkMode.kind}"`)
    }
    if (container.endpoints.some(({ networkId }) => networkId === network.id)) {
      throw new CatalogError(
        'CATALOG_IN_USE',
        `Container "${container.name}" is on network "${network.name}" already`,
      )
    }
  }

  #takenByNetworks(options: {
    readonly also?: readonly Network[]
    readonly except?: ReadonlySet<string>
  }): Taken[] {
    const existing = [...this.#state.snapshot.networks.values()].filter(
      ({ id }) => options.except?.has(id) !== true,
    )
    return [...existing, ...(options.also ?? [])].flatMap(({ name, subnets }) =>
      subnets.map(({ subnet }): Taken => ({ kind: 'network', name, prefix: parsePrefix(subnet) })),
    )
  }
}

/** Of the ingress network, in the catalog. */
export const ingressNetworkName = 'ingress'

/** The address after the gateway's. */
function withIpvsAddress(subnet: Network['subnets'][number]): Network['subnets'][number] {
  const { family, value } = parseAddress(subnet.gateway ?? '')
  const next = formatAddress({ family, value: value + 1n })
  return { ...subnet, auxAddresses: { [ipvsAddressName]: next } }
}

/** The containers on a network, whatever their state. */
export function membersOf(snapshot: Snapshot, network: Network): Container[] {
  return [...(snapshot.members.get(network.id) ?? [])].flatMap(
    id => snapshot.containers.get(id) ?? [],
  )
}

function specOf(request: CreateNetworkRequest): NetworkSpec {
  const driver = request.driver ?? 'bridge'
  if (driver !== 'bridge') {
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Cannot create network "${request.name}": there is no driver "${driver}"; use bridge`,
    )
  }
  const subnets = (request.subnets ?? []).map(subnet => {
    const isInside = (address: string): boolean =>
      address.includes(':') === subnet.includes(':') && isIn(subnet, address)
    const gateway = request.gateways?.find(isInside)
    const ipRange = request.ipRanges?.find(range => isInside(range.split('/')[0] ?? ''))
    const aux = Object.entries(request.auxAddresses ?? {}).filter(([, text]) => isInside(text))
    return {
      subnet,
      ...(gateway !== undefined && { gateway }),
      ...(ipRange !== undefined && { ipRange }),
      auxAddresses: Object.fromEntries(aux),
    }
  })
  refuseStrays(request, subnets)
  return {
    ...emptySpec(request.name, 'bridge'),
    subnets,
    hasIpv6: (request.hasIpv6 ?? false) || subnets.some(({ subnet }) => subnet.includes(':')),
    isInternal: request.isInternal ?? false,
    isAttachable: true,
    options: request.options ?? {},
    labels: request.labels ?? {},
  }
}

/** A gateway or range that fits no subnet would be dropped in silence. */
function refuseStrays(
  request: CreateNetworkRequest,
  subnets: readonly {
    readonly gateway?: string
    readonly ipRange?: string
    readonly auxAddresses: Readonly<Record<string, string>>
  }[],
): void {
  const used = new Set(
    subnets.flatMap(({ gateway, ipRange, auxAddresses }) => [
      gateway,
      ipRange,
      ...Object.values(auxAddresses),
    ]),
  )
  const given = [
    ...(request.gateways ?? []),
    ...(request.ipRanges ?? []),
    ...Object.values(request.auxAddresses ?? {}),
  ]
  const stray = given.find(text => !used.has(text))
  if (stray === undefined) return
  throw new CatalogError(
    'CATALOG_REFUSED',
    `Cannot create network "${request.name}": ${stray} is in none of its subnets (${request.subnets?.join(', ') || 'none given'})`,
  )
}

function isIn(subnet: string, address: string): boolean {
  try {
    const prefix = parsePrefix(subnet)
    const inner = parsePrefix(`${address}/${prefix.length}`)
    return inner.base === prefix.base
  } catch {
    // What is no address is in no subnet; the refusal names it.
    return false
  }
}

function emptySpec(name: string, driver: NetworkSpec['driver']): NetworkSpec {
  return {
    name,
    driver,
    options: {},
    subnets: [],
    hasIpv4: true,
    hasIpv6: false,
    isInternal: false,
    isAttachable: false,
    labels: {},
  }
}

/** The text that leases compare: one spelling for an IPv6 address. */
function canonical(address: string): string {
  parseAddress(address)
  return address.toLowerCase()
}

function nextInterface(container: Container): string {
  const used = new Set(container.endpoints.map(({ interfaceName }) => interfaceName))
  let index = 0
  while (used.has(`eth${index}`)) index++
  return `eth${index}`
}
