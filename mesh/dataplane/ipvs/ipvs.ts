/** The mesh by IPVS, in a namespace of its own: the host's own IPVS is not touched. */

import { Ipvs, IpvsError } from 'node-ipvs'
import { loadIpvs } from '../../../src/kernel/module.js'
import { closeNetns, openNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'
import { runNft } from '../../../src/kernel/nft.js'
import { MeshError } from '../../error.js'
import { Contents } from '../../nft/contents.js'
import { composeRemoval, type Element } from '../../nft/program.js'
import type { MeshState, VirtualService } from '../../state.js'
import type { Dataplane, DestinationStats, Hop } from '../dataplane.js'
import { assignAliases, publishedAddresses, type Aliases } from './aliases.js'
import { composeBalances, type Balance } from './balance.js'
import { isMissing, type Change } from './balancer.js'
import { checkService } from './check.js'
import { composeHostElements, composeIngressElements } from './elements.js'
import { Ground, type IpvsOptions } from './ground.js'
import { IngressSandbox } from './sandbox.js'
import { ownersOf, readStats, type Owner } from './stats.js'
import { describeWay } from './trace.js'
import { forgetCut, settleUdpPorts } from './udp.js'

interface Written {
  readonly service: VirtualService
  readonly host: readonly Element[]
  readonly ingress: readonly Element[]
  readonly balances: ReadonlyMap<string, Balance>
}

export class IpvsDataplane implements Dataplane {
  readonly kind = 'ipvs'
  readonly #netns: Netns
  readonly #options: IpvsOptions
  readonly #onTampered: (() => void)[] = []
  readonly #owners = new Map<string, Owner>()
  #ground: Ground | undefined
  #written = new Map<string, Written>()
  #turn: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /**
   * Acts from now on in the namespace of the calling moment. Changes nothing yet, but for the kernel's
   * modules. Throws MeshError `MESH_NO_DATAPLANE` where the kernel has no IPVS; KernelError.
   */
  static open(options: IpvsOptions): IpvsDataplane {
    requireIpvs()
    return new IpvsDataplane(options, openNetns('/proc/thread-self/ns/net'))
  }

  private constructor(options: IpvsOptions, netns: Netns) {
    this.#netns = netns
    this.#options = options
  }

  check(service: VirtualService): void {
    runInNetns(this.#netns, () => checkService(service))
  }

  apply(desired: MeshState, changed?: ReadonlySet<string>): Promise<void> {
    return this.#inTurn(async () => {
      const keys = changed ?? new Set([...this.#written.keys(), ...desired.keys()])
      for (const key of keys) {
        const service = desired.get(key)
        if (service !== undefined) this.check(service)
      }
      if (this.#ground?.isKnown !== true) await this.#reconcile(desired)
      else await this.#changeSafely(this.#ground, desired, keys)
    })
  }

  reconcile(desired: MeshState): Promise<number> {
    return this.#inTurn(() => this.#reconcile(desired))
  }

  onTampered(body: () => void): void {
    this.#onTampered.push(body)
  }

  stats(): Promise<readonly DestinationStats[]> {
    return this.#inTurn(async () => {
      if (this.#ground === undefined) return []
      await this.#sweep(this.#ground)
      return readStats(this.#ground.balancer, this.#owners)
    })
  }

  trace(service: VirtualService): Promise<readonly Hop[]> {
    return this.#inTurn(() => {
      const where = 'IPVS'
      const none = [{ where, what: `nothing is programmed yet for service ${service.name}` }]
      return Promise.resolve(this.#ground === undefined ? none : describeWay(this.#ground, service))
    })
  }

  async close(): Promise<void> {
    await this.#turn
    if (this.#isClosed) return
    this.#isClosed = true
    this.#ground?.close()
    this.#ground = undefined
    closeNetns(this.#netns)
  }

  async remove(): Promise<void> {
    const { place, table, nsPath } = this.#options
    await this.#inTurn(() => {
      if (this.#isClosed) return Promise.resolve()
      this.#ground?.close()
      this.#ground = undefined
      runInNetns(this.#netns, () => runNft(composeRemoval(table)))
      IngressSandbox.remove(this.#netns, place, nsPath)
      return Promise.resolve()
    })
    await this.close()
  }

  /** IPVS and two tables have no transaction in common: what fails on the way is undone. */
  async #changeSafely(
    ground: Ground,
    desired: MeshState,
    keys: ReadonlySet<string>,
  ): Promise<void> {
    try {
      await this.#change(ground, desired, keys)
    } catch (error) {
      ground.forget()
      // Somebody else removed what was to be changed.
      if (isMissing(error)) {
        await this.#reconcile(desired)
        return
      }
      const before = [...this.#written].map(([key, { service }]) => [key, service] as const)
      // What cannot be undone either is mended by the next call, which compares with the kernel.
      await this.#reconcile(new Map(before)).catch(() => ground.forget())
      throw error
    }
  }

  /** New ways are ready before anything leads to them, old ones are let go once nothing does. */
  async #change(ground: Ground, desired: MeshState, changed: ReadonlySet<string>): Promise<void> {
    const keys = [...changed].filter(key => this.#written.get(key)?.service !== desired.get(key))
    const before = keys.flatMap(key => this.#written.get(key) ?? [])
    const services = keys.flatMap(key => desired.get(key) ?? [])
    const others = [...this.#written].filter(([key]) => !changed.has(key))
    const aliases = this.#chooseAliases(ground, [
      ...others.map(([, { service }]) => service),
      ...services,
      ...before.map(one => one.service),
    ])
    for (const alias of newOnes(aliases, ground.aliases)) ground.sandbox.addAlias(alias)
    const after = services.map(service => compose(service, aliases))
    const { balancer, host, ingress } = ground
    const change = balancer.plan(wantedBalances(before, after))
    const elements = (some: readonly Written[], of: 'host' | 'ingress'): Element[] =>
      some.flatMap(one => one[of])
    await ingress.run(ingress.table.change(elements(before, 'ingress'), elements(after, 'ingress')))
    await balancer.come(change)
    await host.run(host.table.change(elements(before, 'host'), elements(after, 'host')))
    await balancer.go(change)
    for (const key of keys) this.#written.delete(key)
    await this.#take(ground, before, after, change, aliases)
  }

  async #reconcile(desired: MeshState): Promise<number> {
    this.#ground ??= Ground.open(this.#netns, this.#options, () => this.#tellTampered())
    const ground = this.#ground
    const before = [...this.#written.values()]
    const services = [...desired.values()]
    const aliases = this.#chooseAliases(ground, services)
    const after = services.map(service => compose(service, aliases))
    const { balancer, host, ingress } = ground
    let differences = ground.sandbox.settle(aliases.values())
    const change = await balancer.compare(wantedBalances([], after))
    const ingressContents = contentsOf(after.map(one => one.ingress))
    const hostContents = contentsOf(after.map(one => one.host))
    differences += await ingress.run(ingress.table.reconcile(ingressContents))
    await balancer.come(change)
    differences += await host.run(host.table.reconcile(hostContents))
    await balancer.go(change)
    this.#written.clear()
    await this.#take(ground, before, after, change, aliases)
    return differences + change.differences
  }

  /** Remembers what the kernel has taken, and ends what is not to go on. */
  async #take(
    ground: Ground,
    before: readonly Written[],
    after: readonly Written[],
    change: Change,
    aliases: Aliases,
  ): Promise<void> {
    const { sandbox } = ground
    const ends = [sandbox.transit[4]?.ingress, sandbox.transit[6]?.ingress]
    const own = [...ends, ...ground.aliases.values()].filter(one => one !== undefined)
    ground.aliases = aliases
    for (const one of after) {
      this.#written.set(one.service.key, one)
      for (const [key, owner] of ownersOf(one.service, one.balances)) this.#owners.set(key, owner)
    }
    const services = (some: readonly Written[]): VirtualService[] => some.map(one => one.service)
    runInNetns(sandbox.netns, () => forgetCut(change.cut))
    runInNetns(this.#netns, () => settleUdpPorts(services(before), services(after), own))
    await this.#sweep(ground, change.after.keys())
  }

  async #sweep(ground: Ground, keys?: Iterable<string>): Promise<void> {
    for (const gone of await ground.balancer.sweep(keys)) this.#owners.delete(gone)
  }

  #chooseAliases(ground: Ground, services: readonly VirtualService[]): Aliases {
    return assignAliases(ground.aliases, publishedAddresses(services), ground.sandbox.transit)
  }

  /** One after another: a change counts on what the one before wrote. */
  #inTurn<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(body)
    this.#turn = result.catch(() => undefined)
    return result
  }

  #tellTampered(): void {
    this.#ground?.forget()
    for (const body of this.#onTampered) body()
  }
}

/** Throws MeshError `MESH_NO_DATAPLANE`. The kernel loads the module by itself where it can. */
function requireIpvs(): void {
  try {
    Ipvs.open().close()
  } catch (cause) {
    if (!(cause instanceof IpvsError) || cause.code !== 'IPVS_UNAVAILABLE') throw cause
    if (loadIpvs()) return
    throw new MeshError(
      'MESH_NO_DATAPLANE',
      'Cannot balance by IPVS: this kernel has none; load its module (`modprobe ip_vs`), use a kernel ' +
        'with CONFIG_IP_VS, or use the nftables dataplane',
      { cause },
    )
  }
}

function compose(service: VirtualService, aliases: Aliases): Written {
  return {
    service,
    host: composeHostElements(service, aliases),
    ingress: composeIngressElements(service, aliases),
    balances: composeBalances(service),
  }
}

/** Undefined for what only `before` has. */
function wantedBalances(
  before: readonly Written[],
  after: readonly Written[],
): Map<string, Balance | undefined> {
  const wanted = new Map<string, Balance | undefined>()
  for (const { balances } of before) for (const key of balances.keys()) wanted.set(key, undefined)
  for (const { balances } of after) for (const [key, one] of balances) wanted.set(key, one)
  return wanted
}

function contentsOf(elements: readonly (readonly Element[])[]): Contents {
  const contents = new Contents()
  for (const some of elements) {
    contents.plan([], some)
    contents.take([], some)
  }
  return contents
}

function newOnes(aliases: Aliases, before: Aliases): string[] {
  const known = new Set(before.values())
  return [...aliases.values()].filter(alias => !known.has(alias))
}
