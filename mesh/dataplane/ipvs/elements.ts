/** What one service puts into the two tables, the host's and the namespace's. Pure. */

import type { Family } from '../../../src/base/ip.js'
import type { Element } from '../../nft/program.js'
import type { Destination, PublishedPort, VirtualService } from '../../state.js'
import { addressKey } from '../nftables/elements.js'
import type { Aliases } from './aliases.js'
import { transportMark } from './marks.js'

const FAMILIES: readonly Family[] = [4, 6]

/** Which ports of the host lead to the namespace, and to which of its addresses. */
export function composeHostElements({ ports }: VirtualService, aliases: Aliases): Element[] {
  return ports.flatMap(port => {
    const { kind, key } = portKey(port)
    if (port.address === undefined) return [{ collection: kind, key, data: '' }]
    const at = addressKey(port.address)
    const alias = aliases.get(at.key)
    if (alias === undefined) return []
    return [{ collection: `${kind}${at.family}`, key: `${at.key} . ${key}`, data: alias }]
  })
}

/** Which ports of the namespace are the service, who serves it, and who would talk to himself. */
export function composeIngressElements(service: VirtualService, aliases: Aliases): Element[] {
  const marks = new Set(service.ports.map(one => transportMark(service.mark, one.protocol)))
  const served = FAMILIES.filter(family =>
    service.destinations.some(one => (family === 4 ? one.ipv4 : one.ipv6) !== undefined),
  )
  return [
    ...service.ports.flatMap(port => composePort(port, service.mark, aliases)),
    ...served.flatMap(family =>
      [...marks].map(mark => ({ collection: `served${family}`, key: String(mark), data: '' })),
    ),
    ...service.destinations.flatMap(composeHairpin),
  ]
}

function composePort(port: PublishedPort, mark: number, aliases: Aliases): Element[] {
  const { kind, key } = portKey(port)
  const data = String(transportMark(mark, port.protocol))
  if (port.address === undefined) return [{ collection: kind, key, data }]
  const at = addressKey(port.address)
  const alias = aliases.get(at.key)
  if (alias === undefined) return []
  return [{ collection: `${kind}${at.family}`, key: `${alias} . ${key}`, data }]
}

function portKey({ protocol, first, last }: PublishedPort): { kind: string; key: string } {
  return last > first
    ? { kind: 'ranges', key: `${protocol} . ${first}-${last}` }
    : { kind: 'ports', key: `${protocol} . ${first}` }
}

function composeHairpin({ ipv4, ipv6, ownAddresses }: Destination): Element[] {
  const own = ownAddresses.map(addressKey)
  return [ipv4, ipv6].flatMap(address => {
    if (address === undefined) return []
    const { family, key } = addressKey(address)
    const sources = new Set([key, ...own.filter(one => one.family === family).map(one => one.key)])
    return [...sources].map(source => ({
      collection: `hairpin${family}`,
      key: `${source} . ${key}`,
      data: '',
    }))
  })
}
