/** Where a new connection of one service and one family goes. */

import { addressBytes, addressOfBytes, formatAddress, parseAddress } from '../../../src/base/ip.js'
import { Ejections } from '../../health/passive.js'
import { AffinityTable } from './schedule/affinity.js'
import { createScheduler } from './schedule/scheduler.js'
import type { Clock } from '../../../src/base/clock.js'
import type { Family } from '../../../src/base/ip.js'
import type { Destination, VirtualService } from '../../state.js'
import type { Hop } from '../dataplane.js'
import type { Account, Ledger } from './ledger.js'
import type { Candidate, Choose } from './schedule/scheduler.js'
import type { Client } from './socket.js'

/** Where a connection can go, and who counts it. */
export interface Target {
  readonly id: string
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  /** Undefined: the port that the client came to. */
  readonly port: number | undefined
  readonly account: Account
  readonly hasProxyHeader: boolean
}

/** The proxies' only question. The daemon's relays answer it with a fixed target. */
export interface Route {
  /** Undefined: refuse. `tried` are those that this connection did not reach. */
  choose(client: Client, tried: readonly Target[]): Target | undefined
  /** False once `target` takes no new connections or is reached elsewhere. */
  isListed(target: Target): boolean
  failed(target: Target): void
  succeeded(target: Target): void
}

interface Listed extends Target, Candidate {}

export interface RouteContext {
  readonly clock: Clock
  readonly ledger: Ledger
}

/** The choice of a service: scheduler, affinity and ejection together. */
export class ServiceRoute implements Route {
  readonly #family: Family
  readonly #context: RouteContext
  /** Whom connects fail to is passed over for a while. */
  readonly #ejections = new Ejections()
  #targets = new Map<string, Listed>()
  #choose: Choose<Listed> = () => undefined
  #affinity: AffinityTable | undefined
  #timeoutSeconds = 0

  constructor(family: Family, context: RouteContext) {
    this.#family = family
    this.#context = context
  }

  /** Who stays keeps its clients. */
  update(service: VirtualService): void {
    const listed = service.destinations.flatMap(destination => {
      const target = this.#targetOf(service, destination)
      return target === undefined ? [] : [target]
    })
    this.#targets = new Map(listed.map(target => [target.id, target]))
    this.#ejections.retain(new Set(this.#targets.keys()))
    this.#choose = createScheduler(service.scheduler, listed)
    const { affinity } = service
    const seconds = affinity.kind === 'client-ip' ? affinity.timeoutSeconds : 0
    if (seconds === this.#timeoutSeconds) return
    this.#timeoutSeconds = seconds
    this.#affinity = seconds === 0 ? undefined : new AffinityTable(seconds)
  }

  choose(client: Client, tried: readonly Target[]): Target | undefined {
    if (tried.length === 0) {
      const kept = this.#keptFor(client)
      if (kept !== undefined) return kept
    }
    const isTried = (target: Listed): boolean => tried.some(({ id }) => id === target.id)
    // Where all that are left are ejected, one of them is better than none.
    const target =
      this.#choose(client.key, listed => isTried(listed) || this.#isEjected(listed)) ??
      this.#choose(client.key, isTried)
    if (target !== undefined) {
      this.#affinity?.remember(client.key, target.id, this.#context.clock.now())
    }
    return target
  }

  isListed({ id, address, port }: Target): boolean {
    const listed = this.#targets.get(id)
    if (listed === undefined) return false
    return listed.port === port && Buffer.compare(listed.address, address) === 0
  }

  failed(target: Target): void {
    this.#ejections.noteFailure(target.id, this.#context.clock.now())
  }

  succeeded(target: Target): void {
    this.#ejections.noteSuccess(target.id)
  }

  /** Every destination of this family and how it stands, for people. */
  describe(): Hop[] {
    const now = this.#context.clock.now()
    return [...this.#targets.values()].map(({ id, address, port, weight, account }) => {
      const text = formatAddress(addressOfBytes(address))
      const until = this.#ejections.ejectedUntil(id, now)
      const ejected =
        until === undefined
          ? ''
          : `; passed over for ${Math.ceil((until - now) / 1000)} s more, as connects failed`
      const place = port === undefined ? `${text}, port as published` : `${text}, port ${port}`
      return {
        where: `destination ${id}`,
        what: `${place}, weight ${weight}, ${account.active} connections${ejected}`,
      }
    })
  }

  #keptFor({ key }: Client): Listed | undefined {
    if (this.#affinity === undefined) return undefined
    const now = this.#context.clock.now()
    const id = this.#affinity.find(key, now)
    const target = id === undefined ? undefined : this.#targets.get(id)
    if (target === undefined || this.#isEjected(target)) return undefined
    this.#affinity.remember(key, target.id, now)
    return target
  }

  #isEjected({ id }: Listed): boolean {
    return this.#ejections.ejectedUntil(id, this.#context.clock.now()) !== undefined
  }

  #targetOf(service: VirtualService, destination: Destination): Listed | undefined {
    const { id, weight, port, ipv4, ipv6 } = destination
    const text = this.#family === 4 ? ipv4 : ipv6
    if (text === undefined) return undefined
    const account = this.#context.ledger.open(service.key, id)
    return {
      ...{ id, weight, port, account },
      address: addressBytes(parseAddress(text)),
      hasProxyHeader: service.proxyProtocol === 'v2',
      get activeConnections() {
        return account.active
      },
    }
  }
}
