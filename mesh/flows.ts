/**
 * UDP flows that outlive what they were translated by. Connection tracking remembers where a flow went
 * for as long as datagrams come, so a change of destinations has to make it forget. Acts on the
 * namespace of the calling moment; throws KernelError.
 */

import { removeFlows } from '../src/kernel/conntrack.js'

/** Where flows led to. */
export interface UdpPath {
  /** The destination's address in canonical text. */
  readonly address: string
  /** What clients send to: whether it is the service's. */
  isPort(port: number): boolean
}

/** Forgets flows to destinations that are gone: their next datagram goes to another. */
export function forgetPaths(paths: readonly UdpPath[]): number {
  if (paths.length === 0) return 0
  const byAddress = new Map<string, UdpPath[]>()
  for (const path of paths) {
    byAddress.set(path.address, [...(byAddress.get(path.address) ?? []), path])
  }
  return removeFlows({ protocol: 'udp', isDestinationNat: true }, flow =>
    (byAddress.get(flow.reply.source) ?? []).some(one =>
      one.isPort(flow.original.destinationPort),
    ),
  )
}

/** Forgets flows that began while nobody was behind a port of this node, so nothing translates them. */
export function forgetUntranslated(
  isPort: (port: number) => boolean,
  localAddresses: ReadonlySet<string>,
): number {
  return removeFlows(
    { protocol: 'udp', isDestinationNat: false },
    ({ original }) =>
      isPort(original.destinationPort) &&
      (localAddresses.has(original.destination) || original.destination.startsWith('127.')),
  )
}
