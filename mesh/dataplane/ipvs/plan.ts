/**
 * From what IPVS has to what it is to have. A destination that leaves stays at weight 0 while
 * connections to it live; one of datagrams goes at once. Pure.
 */

import { isDeepStrictEqual } from 'node:util'
import type { DestinationId, DestinationStatus, Operation, ServiceId } from 'node-ipvs'
import { destinationKey, type Balance } from './balance.js'
import { isUdpMark } from './marks.js'

export interface BalancePlan {
  /** What takes connections from now on: before anything leads to it. */
  readonly come: readonly Operation[]
  /** What takes none: once nothing leads to it. */
  readonly go: readonly Operation[]
  /** What IPVS has then; undefined: no such service. */
  readonly after: Balance | undefined
  /** How much was not as it is to be. Who drains already is as it is to be. */
  readonly differences: number
  /** Addresses whose flows have to be forgotten. */
  readonly cut: readonly string[]
}

/** `found` and `wanted` are of one service of the kernel's; undefined: it is not there, or is to go. */
export function planBalance(found: Balance | undefined, wanted: Balance | undefined): BalancePlan {
  const service = wanted?.service ?? found?.service
  if (service === undefined) return { come: [], go: [], after: undefined, differences: 0, cut: [] }
  const come: Operation[] = []
  if (wanted !== undefined && !isDeepStrictEqual(found?.service, wanted.service)) {
    come.push({ op: 'ensure-service', service: wanted.service })
  }
  for (const [key, destination] of wanted?.destinations ?? []) {
    if (isDeepStrictEqual(found?.destinations.get(key), destination)) continue
    come.push({ op: 'ensure-destination', service, destination })
  }
  const after = new Map(wanted?.destinations ?? [])
  const leaving = [...(found?.destinations ?? [])].filter(([key]) => !after.has(key))
  if (service.kind === 'fwmark' && isUdpMark(service.mark)) {
    const go = leaving.map(([, destination]) => removal(service, destination))
    const ends: Operation[] = after.size === 0 ? [{ op: 'remove-service', service }] : []
    return {
      ...{ come, go: [...go, ...ends], differences: come.length + leaving.length },
      after: after.size === 0 ? undefined : { service, destinations: after },
      cut: leaving.map(([, { address }]) => address),
    }
  }
  const go: Operation[] = []
  for (const [key, destination] of leaving) {
    const drained = { ...destination, weight: 0 }
    after.set(key, drained)
    if (destination.weight !== 0)
      go.push({ op: 'update-destination', service, destination: drained })
  }
  return {
    come,
    go,
    after: { service, destinations: after },
    differences: come.length + go.length,
    cut: [],
  }
}

/** What goes of a service now that connections have ended. */
export function planSweep(
  held: Balance,
  observed: readonly DestinationStatus[],
): { readonly go: readonly Operation[]; readonly after: Balance | undefined } {
  const { service } = held
  const living = new Set(
    observed
      .filter(one => one.activeConnections + one.inactiveConnections > 0)
      .map(one => destinationKey(one.destination)),
  )
  const destinations = new Map(held.destinations)
  const go: Operation[] = []
  for (const [key, destination] of held.destinations) {
    if (destination.weight !== 0 || living.has(key)) continue
    destinations.delete(key)
    go.push(removal(service, destination))
  }
  if (destinations.size > 0) return { go, after: { service, destinations } }
  return { go: [{ op: 'remove-service', service }], after: undefined }
}

/** Whether anybody waits for its connections to end. */
export function isDraining({ destinations }: Balance): boolean {
  if (destinations.size === 0) return true
  for (const { weight } of destinations.values()) if (weight === 0) return true
  return false
}

function removal(service: ServiceId, { address, port }: DestinationId): Operation {
  return { op: 'remove-destination', service, destination: { address, port } }
}
