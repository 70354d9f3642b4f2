/** What one service puts into the node's table. Pure. */

import { isIPv4 } from 'node:net'
import { formatAddress, parseAddress, type Family } from '../../../src/base/ip.js'
import { serviceMark } from '../../marks.js'
import { drawChain } from '../../nft/draw.js'
import type { Element } from '../../nft/program.js'
import { drawOf, weightOf } from '../../nft/scheduler.js'
import { assignSlots } from '../../nft/slots.js'
import type { Destination, PublishedPort, VirtualService } from '../../state.js'

/** In the order of ports, slots, and what belongs to destinations. */
export function composeServiceElements(service: VirtualService): readonly Element[] {
  const mark = String(serviceMark(service.mark))
  return [
    ...service.ports.map(port => composePort(port, mark)),
    ...composeSlots(service, mark, 4),
    ...composeSlots(service, mark, 6),
    ...service.destinations.flatMap(one => composeDestination(one)),
  ]
}

/** The counters of one destination, which may outlive it. */
export function composeCounters(address: string): readonly Element[] {
  const { family, key } = addressKey(address)
  return ['in', 'out'].map(way => ({ collection: `${way}${family}`, key, data: '' }))
}

/** The text of an address as the kernel's listing has it. */
export function addressKey(address: string): { readonly family: Family; readonly key: string } {
  // Dotted text has one spelling; there are many of them.
  if (isIPv4(address)) return { family: 4, key: address }
  const parsed = parseAddress(address)
  return { family: parsed.family, key: formatAddress(parsed) }
}

function composePort({ protocol, first, last, address }: PublishedPort, mark: string): Element {
  const isRange = last > first
  const port = isRange ? `${first}-${last}` : String(first)
  const kind = isRange ? 'ranges' : 'ports'
  const key = `${protocol} . ${port}`
  if (address === undefined) return { collection: kind, key, data: mark }
  const at = addressKey(address)
  return { collection: `${kind}${at.family}`, key: `${at.key} . ${key}`, data: mark }
}

function composeSlots(service: VirtualService, mark: string, family: Family): Element[] {
  const { scheduler, affinity, destinations } = service
  const draw = drawOf(scheduler, affinity)
  const candidates = destinations.flatMap(one => {
    const address = family === 4 ? one.ipv4 : one.ipv6
    if (address === undefined) return []
    return [{ id: one.id, weight: weightOf(scheduler, one.weight), key: addressKey(address).key }]
  })
  const slots = assignSlots(draw, candidates)
  if (slots.length === 0) return []
  const chain = drawChain(draw, family, slots.length)
  return [
    { collection: `picks${family}`, key: mark, data: chain },
    ...slots.map((index, slot) => ({
      collection: `slots${family}`,
      key: `${mark} . ${slot}`,
      data: candidates[index]?.key ?? '',
    })),
  ]
}

function composeDestination({ ipv4, ipv6, ownAddresses }: Destination): Element[] {
  const own = ownAddresses.map(addressKey)
  return [ipv4, ipv6].flatMap(address => {
    if (address === undefined) return []
    const { family, key } = addressKey(address)
    const sources = new Set([key, ...own.filter(one => one.family === family).map(one => one.key)])
    const hairpin = [...sources].map(source => ({
      collection: `hairpin${family}`,
      key: `${source} . ${key}`,
      data: '',
    }))
    return [...hairpin, ...composeCounters(address)]
  })
}
