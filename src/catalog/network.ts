/** A network: an isolated L2/L3 domain with subnets, made by a driver. */

/** One subnet of a network, as declared or as IPAM resolved it. */
export interface Subnet {
  /** CIDR. */
  readonly subnet: string
  /** The address of the bridge; IPAM takes the first free one where it is not declared. */
  readonly gateway?: string
  /** CIDR inside `subnet` from which addresses are chosen; static addresses may lie outside it. */
  readonly ipRange?: string
  /** Names of addresses that something else uses: never leased. */
  readonly auxAddresses: Readonly<Record<string, string>>
}

/** What makes a network: `bridge` is a link of ours, `host` and `none` are Docker's special ones. */
export type NetworkDriver = 'bridge' | 'host' | 'none'

/** What a user declares. */
export interface NetworkSpec {
  readonly name: string
  readonly driver: NetworkDriver
  /** Driver options (`com.docker.network.driver.mtu`, ...); the driver refuses what it does not know. */
  readonly options: Readonly<Record<string, string>>
  /** Empty: one subnet a family from the default pools. */
  readonly subnets: readonly Subnet[]
  readonly hasIpv4: boolean
  readonly hasIpv6: boolean
  /** No way in or out but through its own containers. */
  readonly isInternal: boolean
  /** Compose's `attachable`; kept for networks that span hosts. On one host every network is. */
  readonly isAttachable: boolean
  readonly labels: Readonly<Record<string, string>>
}

/** A network that exists: its subnets are resolved, each with a gateway. */
export interface Network extends NetworkSpec {
  /** 64 hexadecimal digits. */
  readonly id: string
  /** Digest of the declaration, to tell a changed one. */
  readonly declaration: string
  /** The Compose project that made it; removed with it. */
  readonly project?: string
  /** The network's key in that project's file. */
  readonly projectKey?: string
  /** `bridge`, `host` and `none`: always there, never removed, no names. */
  readonly isBuiltin: boolean
  /**
   * The node's ingress: replicas with published ports are on it, and connections from outside reach
   * them there. No names, no way out, no talk between its members.
   */
  readonly isIngress?: true
  /** ISO 8601. */
  readonly createdAt: string
}
