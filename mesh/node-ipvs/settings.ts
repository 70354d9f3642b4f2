/** What IPVS says of itself, and how long it keeps idle connections. Plain data. */

/** Of the network namespace. The kernel's defaults are 900, 120 and 300. */
export interface Timeouts {
  readonly tcpSeconds: number
  /** After a FIN. */
  readonly tcpFinSeconds: number
  readonly udpSeconds: number
}

export interface Info {
  /** `1.2.1`. */
  readonly version: string
  readonly connectionTableSize: number
}
