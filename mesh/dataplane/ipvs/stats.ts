/** Connections and bytes by destination, as IPVS counts them. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DestinationStatus } from 'node-ipvs'
import type { VirtualService } from '../../state.js'
import type { DestinationStats } from '../dataplane.js'
import { addressKey } from '../nftables/elements.js'
import type { Balance } from './balance.js'
import type { Balancer } from './balancer.js'
import { isUdpMark } from './marks.js'

/** Whose destination an address of one service of the kernel's is. */
export interface Owner {
  readonly serviceKey: string
  readonly destinationId: string
}

/** By service of the kernel's (`balanceKey`) and address, `KEY ADDRESS`. */
export type Owners = ReadonlyMap<string, Owner>

/** Of all destinations of `service`, of which `balances` are. */
export function ownersOf(
  service: VirtualService,
  balances: ReadonlyMap<string, Balance>,
): Map<string, Owner> {
  const owners = new Map<string, Owner>()
  for (const { id, ipv4, ipv6 } of service.destinations) {
    for (const address of [ipv4, ipv6]) {
      if (address === undefined) continue
      const { family, key } = addressKey(address)
      for (const [balance, { service: own }] of balances) {
        if (own.kind !== 'fwmark' || own.family !== family) continue
        owners.set(`${balance} ${key}`, { serviceKey: service.key, destinationId: id })
      }
    }
  }
  return owners
}

/** Sums what a destination has in all services of the kernel's. Those of nobody are left out. */
export async function readStats(balancer: Balancer, owners: Owners): Promise<DestinationStats[]> {
  const stats = new Map<string, DestinationStats>()
  for (const key of [...balancer.keys()]) {
    const isUdp = isUdpMark(Number(key.split('/')[0]))
    for (const status of balancer.list(key)) {
      const owner = owners.get(`${key} ${status.destination.address}`)
      if (owner === undefined) continue
      const id = `${owner.serviceKey}\0${owner.destinationId}`
      stats.set(id, add(stats.get(id), owner, status, isUdp))
    }
    await nextTurn()
  }
  return [...stats.values()]
}

function add(
  before: DestinationStats | undefined,
  owner: Owner,
  { activeConnections, inactiveConnections, stats }: DestinationStatus,
  isUdp: boolean,
): DestinationStats {
  // A TCP connection that is being ended or was never begun is inactive; a UDP flow may be either.
  const living = activeConnections + (isUdp ? inactiveConnections : 0)
  return {
    ...owner,
    activeConnections: (before?.activeConnections ?? 0) + living,
    inBytes: (before?.inBytes ?? 0n) + stats.incomingBytes,
    outBytes: (before?.outBytes ?? 0n) + stats.outgoingBytes,
  }
}
