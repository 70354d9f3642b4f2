/** UDP flows after a change of services: none stays with who is gone, none stays without anybody. */

import { listAddresses } from '../../../src/kernel/rtnetlink.js'
import { forgetPaths, forgetUntranslated, type UdpPath } from '../../flows.js'
import type { PublishedPort, VirtualService } from '../../state.js'
import { addressKey } from './elements.js'

/** Acts on the namespace of the calling moment. Throws KernelError. */
export function settleUdp(
  before: readonly VirtualService[],
  after: readonly VirtualService[],
): void {
  const isUdp = (service: VirtualService): boolean => udpPorts(service).length > 0
  const next = new Map(after.map(service => [service.key, service]))
  const previous = new Map(before.map(service => [service.key, service]))
  forgetPaths(before.filter(isUdp).flatMap(service => lostPaths(service, next.get(service.key))))
  const opened = after
    .filter(isUdp)
    .flatMap(service => openedPorts(previous.get(service.key), service))
  if (opened.length === 0) return
  const local = new Set(listAddresses().map(({ address }) => address))
  forgetUntranslated(
    ({ destination, destinationPort }) =>
      isIn(opened, destinationPort) && (local.has(destination) || destination.startsWith('127.')),
  )
}

function lostPaths(service: VirtualService, next: VirtualService | undefined): UdpPath[] {
  const kept = new Set(next === undefined ? [] : addressesOf(next))
  const ports = udpPorts(service)
  return addressesOf(service)
    .filter(address => !kept.has(address))
    .map(address => ({
      address,
      isOfService: ({ destinationPort }) => isIn(ports, destinationPort),
    }))
}

/** Ports where somebody is now and nobody was. */
function openedPorts(before: VirtualService | undefined, after: VirtualService): PublishedPort[] {
  if (after.destinations.length === 0) return []
  if (before === undefined || before.destinations.length === 0) return udpPorts(after)
  const known = udpPorts(before)
  return udpPorts(after).filter(
    port => !known.some(one => one.first <= port.first && one.last >= port.last),
  )
}

function addressesOf({ destinations }: VirtualService): string[] {
  return destinations
    .flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
    .flatMap(address => (address === undefined ? [] : [addressKey(address).key]))
}

function udpPorts({ ports }: VirtualService): PublishedPort[] {
  return ports.filter(port => port.protocol === 'udp')
}

function isIn(ports: readonly PublishedPort[], port: number): boolean {
  return ports.some(({ first, last }) => first <= port && port <= last)
}
