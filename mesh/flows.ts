/**
 * UDP flows that outlive what they were translated by. Connection tracking remembers where a flow went
 * for as long as datagrams come, so a change of destinations has to make it forget. Acts on the
 * namespace of the calling moment; throws KernelError.
 */

import { removeFlows } from '../src/kernel/conntrack.js'
import type { FlowTuple } from '../src/kernel/flow.js'

/** Where flows led to. */
export interface UdpPath {
  /** The destination's address in canonical text. */
  readonly address: string
  /** Whether what the client sends to is the service's. */
  isOfService(original: FlowTuple): boolean
}

/** Forgets flows to destinations that are gone: their next datagram goes to another. */
export function forgetPaths(paths: readonly UdpPath[]): number {
  if (paths.length === 0) return 0
  const byAddress = new Map<string, UdpPath[]>()
  for (const path of paths) {
    byAddress.set(path.address, [...(byAddress.get(path.address) ?? []), path])
  }
  return removeFlows({ protocol: 'udp', isDestinationNat: true }, ({ original, reply }) =>
    (byAddress.get(reply.source) ?? []).some(one => one.isOfService(original)),
  )
}

/** Forgets flows that began while nobody was there, so that nothing translates them. */
export function forgetUntranslated(isOfService: (original: FlowTuple) => boolean): number {
  return removeFlows({ protocol: 'udp', isDestinationNat: false }, ({ original }) =>
    isOfService(original),
  )
}
