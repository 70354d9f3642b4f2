/**
 * A virtual service: what it is told apart by, how it is configured, and what the kernel says of it.
 * Plain data; the bytes are made in wire/service.ts.
 */
import type { Stats } from './stats.js'

export type Protocol = 'tcp' | 'udp' | 'sctp'

/** The kernel's address family: IPv4 or IPv6. */
export type Family = 4 | 6

/** A service by where packets go. Port 0 is every port, and needs persistence. */
export interface AddressServiceId {
  readonly kind: 'address'
  readonly protocol: Protocol
  /** IPv4 or IPv6, without a zone. */
  readonly address: string
  readonly port: number
}

/** A service by the mark that the firewall put on packets, whatever their protocol and port. */
export interface FwmarkServiceId {
  readonly kind: 'fwmark'
  readonly family: Family
  /** 1 to 4294967295. */
  readonly mark: number
}

/** What tells one service of a network namespace from another. */
export type ServiceId = AddressServiceId | FwmarkServiceId

/**
 * - `one-packet`: every datagram is scheduled anew (UDP, fwmark).
 * - `fallback`: scheduler flag 1; `sh` and `mh` pass over a destination that is full or has weight 0.
 * - `source-port`: scheduler flag 2; `sh` and `mh` hash the client's port as well.
 * - `scheduler-3`: scheduler flag 3; no scheduler of the kernel uses it yet.
 */
export type ServiceFlag = 'one-packet' | 'fallback' | 'source-port' | 'scheduler-3'

/** Connections of one client go to one destination, until it was silent for so long. */
export interface Persistence {
  /** 1 to 4294967. */
  readonly timeoutSeconds: number
  /** Clients that share so many leading bits count as one. Default 32 (IPv4) or 128 (IPv6). */
  readonly prefixLength?: number
  /** An IPv4 mask that is no prefix, `255.0.255.0`, instead of `prefixLength`. */
  readonly netmask?: string
}

/** How a service balances. */
export interface ServiceSettings {
  /** `rr`, `wrr`, `lc`, `wlc`, `sh`, `mh`, ...: the kernel's module `ip_vs_NAME`; `none` for none. */
  readonly scheduler: string
  readonly flags?: readonly ServiceFlag[]
  readonly persistence?: Persistence
  /** What a client is told apart by instead of its address: the kernel's module `ip_vs_pe_NAME`. */
  readonly persistenceEngine?: string
}

/** A service as one wishes it: its id, and how it balances. Every `Service` is a `ServiceId`. */
export type Service = ServiceId & ServiceSettings

/** A service as the kernel has it. */
export interface ServiceStatus {
  /** In canonical form (`canonicalService`), so that it compares with what was wished. */
  readonly service: Service
  readonly stats: Stats
}

/** `tcp 10.0.0.1:80`, `udp [fd00::1]:53`, `fwmark 7 (IPv4)`. */
export function describeService(id: ServiceId): string {
  return id.kind === 'fwmark'
    ? `fwmark ${id.mark} (IPv${id.family})`
    : `${id.protocol} ${describeEndpoint(id.address, id.port)}`
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function describeEndpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
