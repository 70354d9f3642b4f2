/**
 * IPVS of one namespace, all ours: what it has, what is to change, and who drains. IPVS has no
 * transactions and no events, so what it has is remembered and, when asked, read anew.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  describeService,
  Ipvs,
  IpvsError,
  type DestinationStatus,
  type Operation,
  type Service,
  type ServiceId,
} from 'node-ipvs'
import type { Netns } from '../../../src/kernel/netns.js'
import { balanceKey, destinationKey, type Balance } from './balance.js'
import { isDraining, planBalance, planSweep } from './plan.js'

/**
 * Of idle connections. TCP as connection tracking has it, as the kernel's 900 s end what programs keep
 * open; the others are the kernel's own.
 */
const TIMEOUTS = { tcpSeconds: 432_000, tcpFinSeconds: 120, udpSeconds: 300 } as const
/** Between two turns of the event loop. */
const SERVICES_AT_ONCE = 64
const OPERATIONS_AT_ONCE = 512

interface Observed {
  readonly held: Map<string, Balance>
  /** Services that are not by mark, which nobody of ours made. */
  readonly strange: readonly ServiceId[]
}

export class Balancer {
  readonly #ipvs: Ipvs
  #held = new Map<string, Balance>()

  /** Acts in `netns` from now on. Throws IpvsError `IPVS_UNAVAILABLE`. */
  constructor(netns: Netns) {
    this.#ipvs = Ipvs.open({ netns: netns.fd })
  }

  get(key: string): Balance | undefined {
    return this.#held.get(key)
  }

  /** Every service that IPVS has, those that drain included. */
  keys(): IterableIterator<string> {
    return this.#held.keys()
  }

  /** Plans against what is remembered. */
  plan(wanted: ReadonlyMap<string, Balance | undefined>): Change {
    return planAll(this.#held, wanted)
  }

  /** As `plan`, against what the kernel has; nothing else of it stays. */
  async compare(wanted: ReadonlyMap<string, Balance | undefined>): Promise<Change> {
    const { held, strange } = await this.#observe()
    this.#held = held
    const all = new Map(wanted)
    for (const key of held.keys()) if (!all.has(key)) all.set(key, undefined)
    const change = planAll(held, all)
    const removals = strange.map((service): Operation => ({ op: 'remove-service', service }))
    const { tcpSeconds, tcpFinSeconds, udpSeconds } = this.#ipvs.getTimeouts()
    const isTimed =
      tcpSeconds === TIMEOUTS.tcpSeconds &&
      tcpFinSeconds === TIMEOUTS.tcpFinSeconds &&
      udpSeconds === TIMEOUTS.udpSeconds
    const settings: Operation[] = isTimed ? [] : [{ op: 'set-timeouts', timeouts: TIMEOUTS }]
    return {
      ...change,
      come: [...settings, ...change.come],
      go: [...removals, ...change.go],
      differences: change.differences + removals.length + settings.length,
    }
  }

  /** Throws IpvsError. */
  come({ come }: Change): Promise<void> {
    return this.#run(come)
  }

  /** Throws IpvsError. */
  async go({ go, after }: Change): Promise<void> {
    await this.#run(go)
    for (const [key, balance] of after) {
      if (balance === undefined) this.#held.delete(key)
      else this.#held.set(key, balance)
    }
  }

  /** Lets go of who drained, among `keys` or all. Returns what has gone, as `KEY ADDRESS`. */
  async sweep(keys: Iterable<string> = [...this.#held.keys()]): Promise<readonly string[]> {
    const gone: string[] = []
    for (const key of keys) {
      const held = this.#held.get(key)
      if (held === undefined || !isDraining(held)) continue
      const { go, after } = planSweep(held, this.list(key))
      await this.#run(go)
      for (const address of held.destinations.keys()) {
        if (after?.destinations.has(address) !== true) gone.push(`${key} ${address}`)
      }
      if (after === undefined) this.#held.delete(key)
      else this.#held.set(key, after)
      await nextTurn()
    }
    return gone
  }

  /** What the kernel has of a service; nothing where it is not there. */
  list(key: string): readonly DestinationStatus[] {
    const held = this.#held.get(key)
    if (held === undefined) return []
    try {
      return this.#ipvs.listDestinations(held.service)
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  /** The kernel's own word on how a service balances; undefined where it is not there. */
  describe(key: string): string | undefined {
    const held = this.#held.get(key)
    if (held === undefined) return undefined
    try {
      return describe(this.#ipvs.getService(held.service).service)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  close(): void {
    this.#ipvs.close()
  }

  async #observe(): Promise<Observed> {
    const held = new Map<string, Balance>()
    const strange: ServiceId[] = []
    for (const [index, { service }] of this.#ipvs.listServices().entries()) {
      if (index % SERVICES_AT_ONCE === SERVICES_AT_ONCE - 1) await nextTurn()
      if (service.kind !== 'fwmark') {
        strange.push(service)
        continue
      }
      const destinations = this.#ipvs.listDestinations(service).map(one => one.destination)
      held.set(balanceKey(service.family, service.mark), {
        service,
        destinations: new Map(destinations.map(one => [destinationKey(one), one])),
      })
    }
    return { held, strange }
  }

  /** Some at a time, and lets others run in between. */
  async #run(operations: readonly Operation[]): Promise<void> {
    for (let at = 0; at < operations.length; at += OPERATIONS_AT_ONCE) {
      if (at > 0) await nextTurn()
      for (const result of this.#ipvs.batch(operations.slice(at, at + OPERATIONS_AT_ONCE))) {
        if (result.kind === 'failed') throw result.error
      }
    }
  }
}

/** Whether IPVS refused because what was to be changed is not there: somebody else was at it. */
export function isMissing(error: unknown): boolean {
  return error instanceof IpvsError && (error.code === 'ESRCH' || error.code === 'ENOENT')
}

function describe(service: Service): string {
  const { scheduler, persistence } = service
  const sticky =
    persistence === undefined
      ? ''
      : `, one client to one destination for ${persistence.timeoutSeconds} s`
  return `${describeService(service)}, ${scheduler}${sticky}`
}

/** Plans of several services. */
export interface Change {
  readonly come: readonly Operation[]
  readonly go: readonly Operation[]
  readonly after: ReadonlyMap<string, Balance | undefined>
  readonly differences: number
  /** Addresses whose flows have to be forgotten. */
  readonly cut: ReadonlySet<string>
}

function planAll(
  held: ReadonlyMap<string, Balance>,
  wanted: ReadonlyMap<string, Balance | undefined>,
): Change {
  const plans = [...wanted].map(([key, one]) => [key, planBalance(held.get(key), one)] as const)
  return {
    come: plans.flatMap(([, plan]) => plan.come),
    go: plans.flatMap(([, plan]) => plan.go),
    after: new Map(plans.map(([key, plan]) => [key, plan.after])),
    differences: plans.reduce((sum, [, plan]) => sum + plan.differences, 0),
    cut: new Set(plans.flatMap(([, plan]) => plan.cut)),
  }
}
