/**
 * What IPVS is to have for a virtual service: a service by mark for each family and for each kind of
 * transport, with a destination for each replica. Destination port 0 keeps the published port: two that
 * lead to one program would share what IPVS tells connections apart by. Pure.
 */

import {
  canonicalDestination,
  canonicalService,
  type Destination as IpvsDestination,
  type DestinationId,
  type Service,
  type ServiceFlag,
} from 'node-ipvs'
import type { Family } from '../../../src/base/ip.js'
import type { Destination, Scheduler, VirtualService } from '../../state.js'
import { transportMark } from './marks.js'

/** One service of the kernel's with its destinations, by `destinationKey`. */
export interface Balance {
  readonly service: Service
  readonly destinations: ReadonlyMap<string, IpvsDestination>
}

const FAMILIES: readonly Family[] = [4, 6]
/** Of the table of `sh`, in which every destination takes as many as its weight. */
const SOURCE_HASH_SLOTS = 256
/** Both pass over who has weight 0, which they would otherwise refuse clients for. */
const HASH_FLAGS: readonly ServiceFlag[] = ['fallback']

/** Unique for one service of the kernel's. */
export function balanceKey(family: Family, mark: number): string {
  return `${mark}/${family}`
}

/** Ours are an address; what somebody else added may have a port. */
export function destinationKey({ address, port }: DestinationId): string {
  return port === 0 ? address : `${address} ${port}`
}

/**
 * The kernel's scheduler for a service. Where two services of the kernel's choose for one client, TCP's
 * and UDP's, and the client is to meet one destination, both choose by its address.
 */
export function kernelScheduler({ scheduler, affinity, ports }: VirtualService): Scheduler {
  const isInTurn = scheduler === 'rr' || scheduler === 'wrr'
  const isShared = new Set(ports.map(one => transportMark(0, one.protocol))).size > 1
  return affinity.kind === 'client-ip' && isInTurn && isShared ? 'mh' : scheduler
}

/** By `balanceKey`. A service without destinations of a family is not there: its table refuses. */
export function composeBalances(service: VirtualService): Map<string, Balance> {
  const marks = new Set(service.ports.map(one => transportMark(service.mark, one.protocol)))
  const balances = new Map<string, Balance>()
  for (const family of FAMILIES) {
    for (const mark of marks) {
      const balance = composeBalance(service, family, mark)
      if (balance.destinations.size > 0) balances.set(balanceKey(family, mark), balance)
    }
  }
  return balances
}

function composeBalance(virtual: VirtualService, family: Family, mark: number): Balance {
  const { scheduler, affinity, destinations } = virtual
  const chosen = kernelScheduler(virtual)
  const isHash = chosen === 'sh' || chosen === 'mh'
  const service = canonicalService({
    ...{ kind: 'fwmark', family, mark, scheduler: chosen },
    ...(isHash ? { flags: HASH_FLAGS } : {}),
    ...(affinity.kind === 'none'
      ? {}
      : { persistence: { timeoutSeconds: affinity.timeoutSeconds } }),
  })
  const reachable = destinations.flatMap(one => {
    const address = family === 4 ? one.ipv4 : one.ipv6
    return address === undefined ? [] : [{ address, weight: weightOf(chosen, scheduler, one) }]
  })
  const weights = chosen === 'sh' ? fitWeights(reachable.map(one => one.weight)) : undefined
  return {
    service,
    destinations: new Map(
      reachable.map(({ address, weight }, index) => {
        const destination = canonicalDestination(
          {
            ...{ address, port: 0, weight: weights?.[index] ?? weight },
            forwarding: { kind: 'masquerade' },
          },
          service,
        )
        return [destinationKey(destination), destination]
      }),
    ),
  }
}

/** `rr` takes no notice of weights, whoever stands in for it. */
function weightOf(chosen: Scheduler, asked: Scheduler, { weight }: Destination): number {
  return chosen !== asked && asked === 'rr' ? 1 : weight
}

/** So that all destinations together find place in the table, each at least once. */
function fitWeights(weights: readonly number[]): readonly number[] {
  const divisor = weights.reduce(greatestDivisor, 0)
  const least = weights.map(weight => weight / divisor)
  const sum = least.reduce((total, weight) => total + weight, 0)
  if (sum <= SOURCE_HASH_SLOTS) return least
  return least.map(weight => Math.max(1, Math.floor((weight * SOURCE_HASH_SLOTS) / sum)))
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b)
}
