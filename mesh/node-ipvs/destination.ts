/**
 * A destination of a virtual service, IPVS's "real server": where it is, how packets get there, and
 * what the kernel says of it. Plain data; the bytes are made in wire/destination.ts.
 */
import { describeEndpoint } from './service.js'
import type { Stats } from './stats.js'

/** What tells one destination of a service from another. */
export interface DestinationId {
  readonly address: string
  /** 0 keeps the port that the client asked for. */
  readonly port: number
}

/** `checksum`: of the outer UDP header. `remote-checksum`: offloaded to the far end (GUE). */
export type TunnelFlag = 'checksum' | 'remote-checksum'

/** How packets get to a destination. */
export type Forwarding =
  | { readonly kind: 'masquerade' } //   addresses are rewritten, and replies come back this way
  | { readonly kind: 'local' } //        it is on this machine
  | { readonly kind: 'direct-route' } // only the link address changes; replies go straight to the client
  | { readonly kind: 'bypass' } //       forwarded to the original address (a transparent cache cluster)
  | { readonly kind: 'tunnel'; readonly encapsulation: 'ipip' }
  | {
      readonly kind: 'tunnel'
      readonly encapsulation: 'gre'
      readonly flags?: readonly TunnelFlag[]
    }
  | {
      readonly kind: 'tunnel'
      readonly encapsulation: 'gue'
      /** UDP port of the far end. */
      readonly port: number
      readonly flags?: readonly TunnelFlag[]
    }

/** A destination as one wishes it. Every `Destination` is a `DestinationId`. */
export interface Destination extends DestinationId {
  /** Share of new connections, 0 to 2147483647. 0: none, and the established ones go on. */
  readonly weight: number
  readonly forwarding: Forwarding
  /** No new connections while it has so many; 0, the default, is no limit. */
  readonly upperThreshold?: number
  /** After `upperThreshold` was met, none until it has fewer than this; 0: 3/4 of the upper one. */
  readonly lowerThreshold?: number
}

/** A destination as the kernel has it. */
export interface DestinationStatus {
  /** In canonical form (`canonicalDestination`), so that it compares with what was wished. */
  readonly destination: Destination
  readonly activeConnections: number
  readonly inactiveConnections: number
  readonly persistentConnections: number
  readonly stats: Stats
}

/** `10.0.0.7:80`. */
export function describeDestination(id: DestinationId): string {
  return describeEndpoint(id.address, id.port)
}
