/** Flows and bytes by destination. Acts on the namespace of the calling moment. */

import { listFlows } from '../../../src/kernel/conntrack.js'
import type { Flow } from '../../../src/kernel/flow.js'
import { dumpElements } from '../../../src/kernel/nft-dump.js'
import { parseElements } from '../../nft/listing.js'
import type { TableProgram } from '../../nft/program.js'
import type { PublishedPort, VirtualService } from '../../state.js'
import type { DestinationStats } from '../dataplane.js'
import { addressKey } from './elements.js'

/** One address of a destination, as counters and flows have it. */
export interface CountedDestination {
  readonly serviceKey: string
  readonly destinationId: string
  readonly address: string
  readonly ports: readonly PublishedPort[]
}

export interface StatsReading {
  readonly stats: readonly DestinationStats[]
  /** Those of `gone` that no connection leads to any more. */
  readonly ended: readonly CountedDestination[]
}

/** Unique for one address of one destination. */
export function countedKey(one: CountedDestination): string {
  return `${one.serviceKey}\0${one.destinationId}\0${one.address}`
}

export function countedOf(service: VirtualService): CountedDestination[] {
  return service.destinations.flatMap(({ id, ipv4, ipv6 }) =>
    [ipv4, ipv6].flatMap(address => {
      if (address === undefined) return []
      const { key } = addressKey(address)
      return [{ serviceKey: service.key, destinationId: id, address: key, ports: service.ports }]
    }),
  )
}

/** Bytes are those of an address: a replica in two services has the sum in both. */
export function readStats(
  program: TableProgram,
  present: readonly CountedDestination[],
  gone: readonly CountedDestination[],
): StatsReading {
  const flows = countFlows([...present, ...gone])
  const [inBytes, outBytes] = [readBytes(program, 'in'), readBytes(program, 'out')]
  const ended = gone.filter(one => (flows.get(one) ?? 0) === 0)
  const living = gone.filter(one => !ended.includes(one))
  const stats = new Map<string, DestinationStats>()
  for (const one of [...present, ...living]) {
    const { serviceKey, destinationId, address } = one
    const id = `${serviceKey}\0${destinationId}`
    const other = stats.get(id)
    stats.set(id, {
      serviceKey,
      destinationId,
      activeConnections: (other?.activeConnections ?? 0) + (flows.get(one) ?? 0),
      inBytes: (other?.inBytes ?? 0n) + (inBytes.get(address) ?? 0n),
      outBytes: (other?.outBytes ?? 0n) + (outBytes.get(address) ?? 0n),
    })
  }
  return { stats: [...stats.values()], ended }
}

function countFlows(destinations: readonly CountedDestination[]): Map<CountedDestination, number> {
  const byAddress = new Map<string, CountedDestination[]>()
  for (const one of destinations) {
    const others = byAddress.get(one.address)
    if (others === undefined) byAddress.set(one.address, [one])
    else others.push(one)
  }
  const counts = new Map<CountedDestination, number>()
  for (const flow of listFlows({ isDestinationNat: true })) {
    if (flow.tcpState === 'time-wait' || flow.tcpState === 'close') continue
    const to = byAddress.get(flow.reply.source)?.find(one => leadsTo(one, flow))
    if (to !== undefined) counts.set(to, (counts.get(to) ?? 0) + 1)
  }
  return counts
}

function leadsTo({ ports }: CountedDestination, { protocol, original }: Flow): boolean {
  return ports.some(
    port =>
      port.protocol === protocol &&
      port.first <= original.destinationPort &&
      original.destinationPort <= port.last,
  )
}

function readBytes(program: TableProgram, way: 'in' | 'out'): Map<string, bigint> {
  const bytes = new Map<string, bigint>()
  for (const collection of program.collections) {
    if (collection.hasCounters !== true || !collection.name.startsWith(way)) continue
    const raw = dumpElements(program.name, collection.name)
    for (const [index, { key }] of parseElements(collection, raw).entries()) {
      bytes.set(key, raw[index]?.bytes ?? 0n)
    }
  }
  return bytes
}
