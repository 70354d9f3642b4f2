/** The only door to what balances connections: ipvs, nftables or userspace, behind one contract. */

import type { MeshState, VirtualService } from '../state.js'

export type DataplaneKind = 'ipvs' | 'nftables' | 'userspace'

/** What is known of one destination of one service. Counters are since it was added. */
export interface DestinationStats {
  readonly serviceKey: string
  readonly destinationId: string
  /** Connections that live now, those to a destination that drains included. */
  readonly activeConnections: number
  /** Towards and from the destination; undefined where the dataplane does not count. */
  readonly inBytes?: bigint
  readonly outBytes?: bigint
}

/** One step of a connection's way, for people: what is done, where, and what it found. */
export interface Hop {
  readonly where: string
  readonly what: string
}

/**
 * Every implementation passes test/contract/dataplane.ts. All of them act on the network namespace
 * that they were opened in; ports of this node lead to destinations as `MeshState` says, and:
 * established connections survive every change of it, a removed destination gets no new one, and a
 * service without destinations refuses at once (RST, ICMP port unreachable).
 */
export interface Dataplane {
  readonly kind: DataplaneKind
  /**
   * Throws MeshError `MESH_UNSUPPORTED` where this dataplane cannot do what `service` asks for, with
   * the reason and which one can. Changes nothing.
   */
  check(service: VirtualService): void
  /**
   * Brings what is programmed to `desired`, in one transaction where the kernel has them. Looks only at
   * the services of `changed` where that is given: they are all that differs from the call before.
   * Rejects with KernelError, MeshError or IpvsError; then nothing of the change holds.
   */
  apply(desired: MeshState, changed?: ReadonlySet<string>): Promise<void>
  /**
   * As `apply`, but believes the kernel and not its own memory: adopts what an earlier process left,
   * mends what somebody changed. Returns how many differences it found; the second of two finds none.
   */
  reconcile(desired: MeshState): Promise<number>
  /** Calls `body` when the kernel tells that somebody else changed what is ours. */
  onTampered(body: () => void): void
  /** Flows and bytes by destination, gone destinations with living connections included. */
  stats(): Promise<readonly DestinationStats[]>
  /** The way of a new connection to this service, as the kernel has it now and not as memory has it. */
  trace(service: VirtualService): Promise<readonly Hop[]>
  /** Lets go; the kernel goes on balancing (userspace: no new connections, living ones until `remove`). */
  close(): Promise<void>
  /** Removes everything of ours, links, rules and namespaces included. The object is closed then. */
  remove(): Promise<void>
}
