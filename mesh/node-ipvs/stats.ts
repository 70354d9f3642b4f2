/** What the kernel counted and estimates, of a service or a destination. Plain data. */

/** Totals since the last `zero`, and rates of the last seconds. The kernel sums up every 2 seconds. */
export interface Stats {
  readonly connections: bigint
  readonly incomingPackets: bigint
  readonly outgoingPackets: bigint
  readonly incomingBytes: bigint
  readonly outgoingBytes: bigint
  readonly connectionsPerSecond: bigint
  readonly incomingPacketsPerSecond: bigint
  readonly outgoingPacketsPerSecond: bigint
  readonly incomingBytesPerSecond: bigint
  readonly outgoingBytesPerSecond: bigint
}
