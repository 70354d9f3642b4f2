/**
 * What the mesh is to program: virtual services and their destinations, as plain data.
 *
 * A destination is reached at its ingress address and at the port that was published; the rules in
 * its sandbox lead that to the port the program listens on. So one destination port belongs to one
 * published port, which IPVS needs (two of one target would share a tuple), and a replica cannot tell
 * which dataplane a connection came through.
 */

export type Protocol = 'tcp' | 'udp' | 'sctp'

/** IPVS's names. What a dataplane cannot do it refuses by `Dataplane.check`. */
export type Scheduler = 'rr' | 'wrr' | 'lc' | 'wlc' | 'sh' | 'mh'

/** `client-ip`: connections of one client address go to one destination while it is there. */
export type Affinity =
  { readonly kind: 'none' } | { readonly kind: 'client-ip'; readonly timeoutSeconds: number }

/** A port, or a range of them, that clients of this node reach a service at. */
export interface PublishedPort {
  readonly protocol: Protocol
  readonly first: number
  /** As `first` for a single port. */
  readonly last: number
  /** One address of this node; absent: every one, of both families. */
  readonly address?: string
}

/** A replica that takes new connections. Who drains or is not ready is not listed. */
export interface Destination {
  /** Unique in its service; stable while the replica lives. */
  readonly id: string
  /** At the ingress. At least one of the two. */
  readonly ipv4?: string
  readonly ipv6?: string
  /** Share of new connections against the others' weights: 1 to 65535. */
  readonly weight: number
  /**
   * Only for the userspace dataplane without sandboxes: the port that the program listens on.
   * Absent: the published one.
   */
  readonly port?: number
  /**
   * Further addresses of the replica's own: what comes from one of them to itself needs another
   * source, as a socket cannot talk to its own address across a translation.
   */
  readonly ownAddresses: readonly string[]
}

export interface VirtualService {
  /** Unique; stable across changes of everything else. */
  readonly key: string
  /** For people: `shop/web`. */
  readonly name: string
  /** 1 to 0xfffff: the number by which the kernel knows it (firewall mark). Unique. */
  readonly mark: number
  readonly ports: readonly PublishedPort[]
  readonly scheduler: Scheduler
  readonly affinity: Affinity
  /**
   * Destinations are told the client's address by a header before its bytes (PROXY protocol, version
   * 2). Only the userspace dataplane writes one; the others keep the address itself.
   */
  readonly proxyProtocol?: 'v2'
  readonly destinations: readonly Destination[]
}

/** By `VirtualService.key`. */
export type MeshState = ReadonlyMap<string, VirtualService>

export const emptyState: MeshState = new Map()

/**
 * A way into the replicas' ingress network: whoever translated a connection gets its replies. Replicas
 * know it by the MAC its frames carry, and send replies to its addresses.
 */
export interface IngressPoint {
  /** 1 to 4095. */
  readonly id: number
  readonly mac: string
  readonly ipv4?: string
  readonly ipv6?: string
}

/** Where the mesh of this node meets its replicas. */
export interface IngressPlace {
  /** The bridge of the ingress network on this host. */
  readonly bridge: string
  /** CIDR of the ingress network, a family. */
  readonly subnet4?: string
  readonly subnet6?: string
  /** The host itself (the bridge's own addresses): nftables and userspace. */
  readonly host: IngressPoint
  /** The namespace that IPVS balances in: its own port on the bridge, not isolated. */
  readonly ipvs: IngressPoint
}
