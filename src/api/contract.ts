/** What goes over the daemon's socket: requests, replies and progress, as JSON. Stable API. */

export interface ApiError {
  readonly code: string
  readonly message: string
}

/** A line of the stream that a long operation answers with (application/x-ndjson). */
export type ProgressEvent =
  | { readonly kind: 'progress'; readonly message: string }
  | { readonly kind: 'warning'; readonly message: string }
  | { readonly kind: 'error'; readonly code: string; readonly message: string }
  | { readonly kind: 'done'; readonly message: string; readonly changed: number }

export type Report = (event: ProgressEvent) => void

export interface UpRequest {
  readonly files: readonly { readonly path: string; readonly text: string }[]
  /** What `${VAR}` in the files means. The daemon adds `.env` of the directory below it. */
  readonly environment: Readonly<Record<string, string>>
  /** Where relative paths of the files (`env_file`) start. */
  readonly directory: string
  readonly projectName?: string
  readonly removeOrphans: boolean
  /** Done only when every container with a healthcheck is healthy. */
  readonly isWaiting: boolean
  /** How many seconds to wait for `depends_on` conditions and first healthchecks. */
  readonly timeoutSeconds: number
}

export interface EndpointView {
  readonly network: string
  readonly interfaceName: string
  readonly ipv4?: string
  readonly ipv6?: string
  readonly mac: string
  readonly aliases: readonly string[]
}

export interface ContainerView {
  readonly id: string
  readonly name: string
  readonly project?: string
  readonly service?: string
  readonly state: string
  readonly health: string
  /** Absent: it has no probe. */
  readonly isReady?: boolean
  /** Why it is not ready. */
  readonly unreadyReason?: string
  /** Takes no new connections, by command. */
  readonly isDraining?: true
  readonly exitCode?: number
  readonly failure?: string
  readonly pid?: number
  readonly restartCount: number
  readonly startedAt?: string
  readonly createdAt: string
  readonly command: readonly string[]
  readonly networkMode: string
  readonly endpoints: readonly EndpointView[]
}

/** What `portolan exec` needs to enter a container. */
export interface ProcessView {
  readonly name: string
  /** Arguments of nsenter(1), up to the command. */
  readonly nsenter: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

export interface NetworkView {
  readonly id: string
  readonly name: string
  readonly driver: string
  readonly project?: string
  readonly isInternal: boolean
  readonly isBuiltin: boolean
  readonly hasNames: boolean
  readonly bridge?: string
  readonly subnets: readonly {
    readonly subnet: string
    readonly gateway?: string
    readonly ipRange?: string
  }[]
  readonly options: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
  readonly createdAt: string
  readonly containers: readonly {
    readonly name: string
    readonly state: string
    readonly ipv4?: string
    readonly ipv6?: string
    readonly aliases: readonly string[]
  }[]
}

export interface CreateNetworkRequest {
  readonly name: string
  readonly driver?: string
  readonly subnets?: readonly string[]
  readonly gateways?: readonly string[]
  readonly ipRanges?: readonly string[]
  readonly auxAddresses?: Readonly<Record<string, string>>
  readonly hasIpv6?: boolean
  readonly isInternal?: boolean
  readonly options?: Readonly<Record<string, string>>
  readonly labels?: Readonly<Record<string, string>>
}

export interface ConnectRequest {
  readonly container: string
  readonly aliases?: readonly string[]
  readonly ipv4?: string
  readonly ipv6?: string
  readonly gatewayPriority?: number
}

export interface DigRequest {
  readonly from: string
  readonly name: string
  readonly type: string
  readonly isTcp: boolean
}

export interface RecordView {
  readonly name: string
  readonly ttl: number
  readonly class: string
  readonly type: string
  readonly data: string
}

export interface DigReply {
  readonly rcode: string
  readonly flags: readonly string[]
  readonly question: { readonly name: string; readonly type: string }
  readonly answers: readonly RecordView[]
  readonly authorities: readonly RecordView[]
  readonly additionals: readonly RecordView[]
  readonly milliseconds: number
  readonly bytes: number
}

/** Why a name is answered as it is, for one container. */
export interface ExplainReply {
  readonly from: string
  readonly name: string
  readonly type: string
  /** One sentence a step, in the order of the decision. */
  readonly lines: readonly string[]
  /** The resolver's own account, for programs. */
  readonly detail: unknown
}

export interface UpstreamView {
  readonly address: string
  readonly isHealthy: boolean
  readonly roundTripMs?: number
  readonly answered: number
  readonly failed: number
}

export interface StatusReply {
  readonly version: string
  readonly pid: number
  readonly root: string
  readonly startedAt: string
  readonly isBackground: boolean
  readonly dataplane: DataplaneView
  readonly health: 'ok' | 'degraded'
  /** What is wrong, one sentence each; empty where health is ok. */
  readonly problems: readonly string[]
  readonly kernel: readonly {
    readonly name: string
    readonly isAvailable: boolean
    readonly detail: string
  }[]
  readonly counts: {
    readonly networks: number
    readonly containers: number
    readonly running: number
    readonly sandboxes: number
  }
  readonly resolver: {
    readonly answered: number
    readonly forwarded: number
    readonly dropped: number
    readonly upstreams: readonly UpstreamView[]
  }
  readonly memoryBytes: number
}

export interface ProjectView {
  readonly name: string
  readonly services: readonly {
    readonly name: string
    readonly replicas: number
    readonly running: number
  }[]
  readonly networks: readonly string[]
}

/** A service with what it was given. */
export interface ServiceView {
  readonly project: string
  readonly name: string
  readonly endpointMode: 'vip' | 'dnsrr'
  readonly vips: readonly {
    readonly network: string
    readonly ipv4?: string
    readonly ipv6?: string
  }[]
  readonly ports: readonly PublishedPortView[]
  readonly replicas: { readonly wanted: number; readonly running: number; readonly ready: number }
  readonly scheduler: string
  /** `none`, or `client-ip` with its time-out in seconds. */
  readonly affinity: string
  readonly affinityTimeoutSeconds?: number
  readonly drainSeconds: number
}

export interface PublishedPortView {
  readonly published: number
  readonly target: number
  readonly protocol: string
  readonly mode: 'ingress' | 'host'
  /** Absent: every address of the node. */
  readonly hostAddress?: string
  /** `host` mode: the replica that answers there. */
  readonly container?: string
}

/** Published port -> virtual address -> replicas. */
export interface MeshPortView extends PublishedPortView {
  readonly project: string
  readonly service: string
  readonly vips: readonly string[]
  readonly scheduler: string
  readonly replicas: readonly MeshReplicaView[]
}

export interface MeshReplicaView {
  readonly name: string
  readonly weight: number
  /** `ready`, `unready`, `draining`, `stopping`, or what else keeps connections away. */
  readonly state: string
  /** Whether new connections go to it. */
  readonly isServing: boolean
  /** Why not, or why although. */
  readonly reason?: string
  /** Connections through published ports that live now. */
  readonly activeConnections: number
  /** Decimal digits; absent where the dataplane does not count. */
  readonly inBytes?: string
  readonly outBytes?: string
}

export interface MeshReply {
  readonly dataplane: DataplaneView
  readonly ports: readonly MeshPortView[]
}

export interface DataplaneView {
  readonly kind: string
  /** One sentence: which one, and why. */
  readonly reason: string
}

/** What happens to a new connection to a published port, hop by hop. */
export interface TraceReply {
  readonly port: number
  readonly protocol: string
  readonly service: string
  readonly hops: readonly { readonly where: string; readonly what: string }[]
}

export interface DrainRequest {
  /** For established connections; absent: as the service declares. */
  readonly timeoutSeconds?: number
  /** Takes connections again. */
  readonly isUndone: boolean
}

/** What is absent stays as it is. The next `up` of the file has the last word. */
export interface UpdateServiceRequest {
  readonly scheduler?: 'rr' | 'wrr' | 'lc' | 'wlc' | 'sh' | 'mh'
  readonly affinity?: 'none' | 'client-ip'
  readonly affinityTimeoutSeconds?: number
  /** By replica number. */
  readonly weights?: Readonly<Record<string, number>>
  readonly drainSeconds?: number
}
