/** The mesh by nftables alone: every kernel that runs containers has it. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { closeNetns, openNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'
import { runNft } from '../../../src/kernel/nft.js'
import { writeSysctl } from '../../../src/kernel/sysctl.js'
import { Contents } from '../../nft/contents.js'
import { composeRemoval, type Element, type TableProgram } from '../../nft/program.js'
import { NftTable, type Steps } from '../../nft/table.js'
import type { IngressPlace, MeshState, VirtualService } from '../../state.js'
import type { Dataplane, DestinationStats, Hop } from '../dataplane.js'
import { checkService } from './check.js'
import { composeCounters, composeServiceElements } from './elements.js'
import { nodeProgram } from './program.js'
import { countedKey, countedOf, readStats, type CountedDestination } from './stats.js'
import { watchTable, type FdPoller, type Watch } from './tamper.js'
import { describeWay } from './trace.js'
import { settleUdp } from './udp.js'

export interface NftablesOptions {
  readonly place: IngressPlace
  /** The name of the table, all ours. */
  readonly table: string
  /** Absent: nobody tells when somebody else changes the table. */
  readonly poller?: FdPoller
}

/** Destinations that are gone and counted, before it is looked whether they are still needed. */
const MOST_GONE = 1_000

interface Written {
  readonly service: VirtualService
  readonly elements: readonly Element[]
}

export class NftablesDataplane implements Dataplane {
  readonly kind = 'nftables'
  readonly #netns: Netns
  readonly #place: IngressPlace
  readonly #program: TableProgram
  readonly #table: NftTable
  readonly #onTampered: (() => void)[] = []
  #watch: Watch | undefined
  #written = new Map<string, Written>()
  /** Destinations that are gone, as long as connections to them may live. */
  #gone = new Map<string, CountedDestination>()
  #turn: Promise<unknown> = Promise.resolve()

  /** Acts from now on in the namespace of the calling moment. Writes nothing yet. Throws KernelError. */
  static open(options: NftablesOptions): NftablesDataplane {
    return new NftablesDataplane(options, openNetns('/proc/thread-self/ns/net'))
  }

  private constructor({ place, table, poller }: NftablesOptions, netns: Netns) {
    this.#netns = netns
    this.#place = place
    this.#program = nodeProgram(table, place)
    this.#table = new NftTable(this.#program)
    if (poller !== undefined) this.#watch = watchTable(table, poller, () => this.#tellTampered())
  }

  check(service: VirtualService): void {
    checkService(service)
  }

  apply(desired: MeshState, changed?: ReadonlySet<string>): Promise<void> {
    return this.#inTurn(async () => {
      for (const service of servicesOf(desired, changed)) this.check(service)
      if (!this.#table.isKnown) await this.#reconcile(desired)
      else
        await this.#change(
          desired,
          changed ?? new Set([...this.#written.keys(), ...desired.keys()]),
        )
    })
  }

  reconcile(desired: MeshState): Promise<number> {
    return this.#inTurn(() => this.#reconcile(desired))
  }

  onTampered(body: () => void): void {
    this.#onTampered.push(body)
  }

  stats(): Promise<readonly DestinationStats[]> {
    return this.#inTurn(() => this.#readStats())
  }

  trace(service: VirtualService): Promise<readonly Hop[]> {
    return this.#inTurn(() => Promise.resolve(this.#at(() => describeWay(this.#program, service))))
  }

  async close(): Promise<void> {
    await this.#turn
    this.#watch?.close()
    this.#watch = undefined
    closeNetns(this.#netns)
  }

  async remove(): Promise<void> {
    await this.#inTurn(() => {
      this.#at(() => runNft(composeRemoval(this.#program.name)))
      return Promise.resolve()
    })
    await this.close()
  }

  /** Forgets who is gone and has no connection any more. */
  async #readStats(): Promise<readonly DestinationStats[]> {
    const present = [...this.#written.values()].flatMap(({ service }) => countedOf(service))
    const gone = [...this.#gone.values()]
    const { stats, ended } = this.#at(() => readStats(this.#program, present, gone))
    if (this.#table.isKnown) await this.#run(this.#table.change(ended.flatMap(countersOf), []))
    for (const one of ended) this.#gone.delete(countedKey(one))
    return stats
  }

  async #change(desired: MeshState, changed: ReadonlySet<string>): Promise<void> {
    const keys = [...changed].filter(key => this.#written.get(key)?.service !== desired.get(key))
    const before = keys.flatMap(key => this.#written.get(key) ?? [])
    const after = keys.flatMap(key => desired.get(key) ?? []).map(compose)
    const { left, back } = this.#compareDestinations(before, after)
    const gone = [...before.flatMap(one => one.elements), ...back.flatMap(countersOf)]
    const come = [...after.flatMap(one => one.elements), ...left.flatMap(countersOf)]
    await this.#run(this.#table.change(gone, come))
    for (const key of keys) this.#written.delete(key)
    this.#take(before, after, left, back)
    // Nobody may ever ask.
    if (this.#gone.size > MOST_GONE) await this.#readStats()
  }

  async #reconcile(desired: MeshState): Promise<number> {
    const before = [...this.#written.values()]
    const after = [...desired.values()].map(compose)
    const { left, back } = this.#compareDestinations(before, after)
    const gone = [...this.#gone.values(), ...left].filter(one => !back.includes(one))
    const contents = new Contents()
    for (const elements of [...after.map(one => one.elements), ...gone.map(countersOf)]) {
      contents.hold(elements)
    }
    const settings = this.#at(() => this.#writeSettings())
    const differences = await this.#run(this.#table.reconcile(contents))
    this.#written.clear()
    this.#take(before, after, left, back)
    return differences + settings
  }

  /** Destinations that go keep their counters while connections to them live. */
  #compareDestinations(
    before: readonly Written[],
    after: readonly Written[],
  ): { left: CountedDestination[]; back: CountedDestination[] } {
    const previous = before.flatMap(({ service }) => countedOf(service))
    const next = new Set(after.flatMap(({ service }) => countedOf(service)).map(countedKey))
    return {
      left: previous.filter(one => !next.has(countedKey(one))),
      back: [...next].flatMap(key => this.#gone.get(key) ?? []),
    }
  }

  /** Remembers what the kernel has taken. */
  #take(
    before: readonly Written[],
    after: readonly Written[],
    left: readonly CountedDestination[],
    back: readonly CountedDestination[],
  ): void {
    for (const one of after) this.#written.set(one.service.key, one)
    for (const one of back) this.#gone.delete(countedKey(one))
    for (const one of left) this.#gone.set(countedKey(one), one)
    const services = (some: readonly Written[]): VirtualService[] => some.map(one => one.service)
    this.#at(() => settleUdp(services(before), services(after)))
  }

  /** Without it the kernel takes 127.0.0.1 for a mistake on any link but the loopback. */
  #writeSettings(): number {
    const key = `net.ipv4.conf.${this.#place.bridge}.route_localnet`
    return writeSysctl(key, '1') ? 1 : 0
  }

  /** Runs the transactions of a change, and lets others run in between. */
  async #run(steps: Steps): Promise<number> {
    for (;;) {
      const step = this.#at(() => steps.next())
      if (step.done === true) return step.value
      await nextTurn()
    }
  }

  #at<T>(body: () => T): T {
    return runInNetns(this.#netns, body)
  }

  /** One after another: a change counts on what the one before wrote. */
  #inTurn<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(body)
    this.#turn = result.catch(() => undefined)
    return result
  }

  #tellTampered(): void {
    this.#table.forget()
    for (const body of this.#onTampered) body()
  }
}

function compose(service: VirtualService): Written {
  return { service, elements: composeServiceElements(service) }
}

function countersOf({ address }: CountedDestination): readonly Element[] {
  return composeCounters(address)
}

function servicesOf(desired: MeshState, changed?: ReadonlySet<string>): VirtualService[] {
  if (changed === undefined) return [...desired.values()]
  return [...changed].flatMap(key => desired.get(key) ?? [])
}
