/** A service: a name for a set of replicas, and what each of them runs. */

/** How a sandbox gets its network stack. */
export type NetworkMode =
  | { readonly kind: 'networks' }
  | { readonly kind: 'none' }
  | { readonly kind: 'host' }
  /** Shares the sandbox of another container, by name or id. */
  | { readonly kind: 'container'; readonly container: string }
  /** Shares the sandbox of the same-numbered replica (else the first) of a service of the project. */
  | { readonly kind: 'service'; readonly service: string }

/** Docker's restart policies. */
export interface RestartPolicy {
  readonly condition: 'no' | 'always' | 'on-failure' | 'unless-stopped'
  /** `on-failure` only; absent: no bound. */
  readonly maxRetries?: number
}

export interface Healthcheck {
  /** `CMD` runs `argv`; `CMD-SHELL` is already `['/bin/sh', '-c', text]` here. */
  readonly argv: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly retries: number
  readonly startPeriodMs: number
  readonly startIntervalMs: number
}

/** A published or exposed port. */
export interface PortSpec {
  readonly name?: string
  /** The container's port. */
  readonly target: number
  /** The host's port; absent: exposed only, or chosen by the allocator where `isPublished`. */
  readonly published?: number
  readonly isPublished: boolean
  readonly hostAddress?: string
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly mode: 'ingress' | 'host'
}

export interface ExtraHost {
  readonly name: string
  /** An address, or `host-gateway` for the host as the container reaches it. */
  readonly address: string
}

/** `target` under another name: on user networks a private alias, on the default one an /etc/hosts line. */
export interface Link {
  /** A service of the project, or (external) a container's name. */
  readonly target: string
  readonly alias: string
  readonly isExternal: boolean
}

/** What one replica runs, whatever its number. */
export interface ContainerSpec {
  readonly argv: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly workingDirectory?: string
  readonly hostname?: string
  readonly domainname?: string
  readonly networkMode: NetworkMode
  readonly dns: readonly string[]
  readonly dnsSearch: readonly string[]
  readonly dnsOptions: readonly string[]
  readonly extraHosts: readonly ExtraHost[]
  readonly links: readonly Link[]
  readonly healthcheck?: Healthcheck
  readonly restart: RestartPolicy
  readonly stopSignal: string
  readonly stopGraceMs: number
  readonly labels: Readonly<Record<string, string>>
}

/** A wish to be on a network; IPAM turns it into an endpoint. */
export interface Attachment {
  /** The network's name in the catalog (in a project file: resolved from the key). */
  readonly network: string
  readonly aliases: readonly string[]
  readonly ipv4?: string
  readonly ipv6?: string
  readonly mac?: string
  readonly interfaceName?: string
  readonly gatewayPriority: number
}

export interface Dependency {
  readonly service: string
  readonly condition: 'service_started' | 'service_healthy' | 'service_completed_successfully'
  /** False: a missing dependency only warns. */
  readonly isRequired: boolean
}

/** How connections to a service are spread over its replicas. */
export interface BalanceSpec {
  /** IPVS's names. */
  readonly scheduler: 'rr' | 'wrr' | 'lc' | 'wlc' | 'sh' | 'mh'
  readonly affinity:
    { readonly kind: 'none' } | { readonly kind: 'client-ip'; readonly timeoutSeconds: number }
  /** By replica number, 1 to 65535; 1 where absent. */
  readonly weights: Readonly<Record<string, number>>
  /** How long established connections of a replica that leaves may go on. */
  readonly drainMs: number
  /**
   * `last`: the stop signal is sent when its connections are done. `first`: at once, for programs
   * that finish what they are doing by themselves.
   */
  readonly stopSignalOrder: 'first' | 'last'
  /** Whether replicas that are not ready serve while no other is. */
  readonly isPanicking: boolean
  /** `proxyProtocol`: a header with the client's address, by the userspace dataplane. */
  readonly proxyProtocol?: 'v2'
  readonly probe?: ProbeSpec
}

/** How it is found out whether a replica is ready, apart from whether it lives. */
export interface ProbeSpec {
  /** `tcp://:80`, `http://:80/path`, `cmd:program`, `listen` or `none`. */
  readonly target: string
  readonly intervalMs?: number
  readonly timeoutMs?: number
  /** How many in a row make a ready one unready. */
  readonly fall?: number
  /** How many in a row make an unready one ready again. */
  readonly rise?: number
}

export const defaultBalance: BalanceSpec = {
  scheduler: 'rr',
  affinity: { kind: 'none' },
  weights: {},
  drainMs: 10_000,
  stopSignalOrder: 'last',
  isPanicking: true,
}

/** How replicas are replaced when what they run changes. */
export interface UpdateSpec {
  readonly order: 'stop-first' | 'start-first'
  /** How many at a time; 0: all. */
  readonly parallelism: number
  /** Between one batch and the next. */
  readonly delayMs: number
}

export const defaultUpdate: UpdateSpec = { order: 'stop-first', parallelism: 1, delayMs: 0 }

export interface ServiceSpec {
  readonly name: string
  readonly replicas: number
  readonly endpointMode: 'vip' | 'dnsrr'
  /** `container_name`: then there is one replica of just this name. */
  readonly containerName?: string
  readonly container: ContainerSpec
  readonly attachments: readonly Attachment[]
  readonly dependsOn: readonly Dependency[]
  readonly ports: readonly PortSpec[]
  /** Absent: `defaultBalance`. */
  readonly balance?: BalanceSpec
  /** Absent: `defaultUpdate`. */
  readonly update?: UpdateSpec
}
