/** Counts connections and bytes by destination, gone ones with living connections included. */

import type { DestinationStats } from '../dataplane.js'

/** Of one destination of one service. Whoever moves bytes adds to it. */
export interface Account {
  readonly serviceKey: string
  readonly destinationId: string
  active: number
  /** Towards the destination and from it: exact up to 2^53. */
  inBytes: number
  outBytes: number
}

export class Ledger {
  readonly #accounts = new Map<string, Map<string, Account>>()
  /** No longer listed, connections still live. */
  readonly #leaving = new Set<Account>()

  /** The account of a destination that is listed: it goes on where the destination stayed. */
  open(serviceKey: string, destinationId: string): Account {
    let service = this.#accounts.get(serviceKey)
    if (service === undefined) this.#accounts.set(serviceKey, (service = new Map()))
    let account = service.get(destinationId)
    if (account === undefined) {
      account = { serviceKey, destinationId, active: 0, inBytes: 0, outBytes: 0 }
      service.set(destinationId, account)
    }
    return account
  }

  /** Keeps the accounts of `listed` alone; the others go when their last connection ends. */
  retain(serviceKey: string, listed: ReadonlySet<string>): void {
    const service = this.#accounts.get(serviceKey)
    if (service === undefined) return
    for (const [id, account] of service) {
      if (listed.has(id)) continue
      service.delete(id)
      if (account.active > 0) this.#leaving.add(account)
    }
    if (service.size === 0) this.#accounts.delete(serviceKey)
  }

  list(): DestinationStats[] {
    for (const account of this.#leaving) if (account.active === 0) this.#leaving.delete(account)
    const listed = [...this.#accounts.values()].flatMap(service => [...service.values()])
    return [...listed, ...this.#leaving].map(account => ({
      serviceKey: account.serviceKey,
      destinationId: account.destinationId,
      activeConnections: account.active,
      inBytes: BigInt(account.inBytes),
      outBytes: BigInt(account.outBytes),
    }))
  }
}
