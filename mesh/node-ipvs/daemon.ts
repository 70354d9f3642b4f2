/** The kernel's threads that tell other directors of connections, by multicast. Plain data. */

/** `master` tells, `backup` listens. A namespace runs at most one of each. */
export type SyncState = 'master' | 'backup'

/** A sync daemon as one wishes it. */
export interface SyncDaemon {
  readonly state: SyncState
  /** Name of the link, at most 15 bytes. */
  readonly interface: string
  /** 0 to 255; a backup of 0 listens to every master. */
  readonly syncId: number
  /** Bytes of a message. Default: what the link's MTU has room for. */
  readonly maxLength?: number
  /** Multicast address, IPv4 or IPv6. Default 224.0.0.81. */
  readonly group?: string
  /** UDP port. Default 8848. */
  readonly port?: number
  /** Default 1. */
  readonly ttl?: number
}

/** A sync daemon as the kernel has it. */
export interface SyncDaemonStatus extends SyncDaemon {
  readonly maxLength: number
  readonly group: string
  readonly port: number
  readonly ttl: number
}
