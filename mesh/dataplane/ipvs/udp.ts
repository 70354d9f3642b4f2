/** UDP flows after a change of services: none stays with who is gone, none stays without anybody. */

import { removeFlows } from '../../../src/kernel/conntrack.js'
import { listAddresses } from '../../../src/kernel/rtnetlink.js'
import { forgetPaths, forgetUntranslated } from '../../flows.js'
import type { PublishedPort, VirtualService } from '../../state.js'

/**
 * In the namespace: forgets flows to destinations that IPVS has let go of, so that their next datagram
 * is a new one, which goes elsewhere or is refused. Acts on the namespace of the calling moment.
 */
export function forgetCut(addresses: ReadonlySet<string>): void {
  if (addresses.size === 0) return
  removeFlows({ protocol: 'udp' }, ({ reply }) => addresses.has(reply.source))
}

/**
 * On the host: forgets flows of ports that were published or no longer are. `ingress`: addresses of the
 * namespace. Acts on the namespace of the calling moment.
 */
export function settleUdpPorts(
  before: readonly VirtualService[],
  after: readonly VirtualService[],
  ingress: readonly string[],
): void {
  const [previous, next] = [udpPorts(before), udpPorts(after)]
  const opened = without(next, previous)
  const closed = without(previous, next)
  if (closed.length > 0) {
    forgetPaths(
      ingress.map(address => ({
        address,
        isOfService: ({ destinationPort }) => isIn(closed, destinationPort),
      })),
    )
  }
  if (opened.length === 0) return
  const local = new Set(listAddresses().map(({ address }) => address))
  forgetUntranslated(
    ({ destination, destinationPort }) =>
      isIn(opened, destinationPort) && (local.has(destination) || destination.startsWith('127.')),
  )
}

function udpPorts(services: readonly VirtualService[]): PublishedPort[] {
  return services.flatMap(({ ports }) => ports.filter(port => port.protocol === 'udp'))
}

/** Of `ports`, those that `others` do not cover. Most are the same: there may be thousands. */
function without(
  ports: readonly PublishedPort[],
  others: readonly PublishedPort[],
): readonly PublishedPort[] {
  const keyOf = ({ first, last, address }: PublishedPort): string => `${first} ${last} ${address}`
  const same = new Set(others.map(keyOf))
  return ports
    .filter(port => !same.has(keyOf(port)))
    .filter(
      port =>
        !others.some(
          ({ first, last, address }) =>
            first <= port.first && last >= port.last && address === port.address,
        ),
    )
}

function isIn(ports: readonly PublishedPort[], port: number): boolean {
  return ports.some(({ first, last }) => first <= port && port <= last)
}
