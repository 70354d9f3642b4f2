/** What the API can ask of a daemon. The daemon implements it; the server only speaks HTTP. */

import type {
  ConnectRequest,
  ContainerView,
  CreateNetworkRequest,
  DigReply,
  DigRequest,
  DrainRequest,
  ExplainReply,
  MeshReply,
  NetworkView,
  ProcessView,
  ProjectView,
  Report,
  ServiceView,
  StatusReply,
  TraceReply,
  UpdateServiceRequest,
  UpRequest,
} from './contract.js'

export interface DownOptions {
  readonly timeoutSeconds?: number
}

/** Every method rejects with a CodedError whose message is one sentence for the user. */
export interface Operations {
  status(): Promise<StatusReply>
  /** Ends the daemon; containers go on running. */
  shutdown(): Promise<void>

  listProjects(): readonly ProjectView[]
  /** The name of the project that these files declare. */
  projectNameOf(request: UpRequest): string
  up(request: UpRequest, report: Report): Promise<void>
  down(project: string, options: DownOptions, report: Report): Promise<void>
  scale(project: string, replicas: Readonly<Record<string, number>>, report: Report): Promise<void>

  listContainers(): readonly ContainerView[]
  getContainer(nameOrId: string): ContainerView
  startContainer(nameOrId: string): Promise<void>
  stopContainer(nameOrId: string, timeoutSeconds?: number): Promise<void>
  renameContainer(nameOrId: string, name: string): Promise<void>
  processOf(nameOrId: string): ProcessView
  /** Yields what the log holds, the last `tail` lines, then what comes while `follow` and not aborted. */
  logs(
    nameOrId: string,
    options: { readonly tail?: number; readonly follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>

  listNetworks(): readonly NetworkView[]
  getNetwork(nameOrId: string): NetworkView
  createNetwork(request: CreateNetworkRequest): Promise<NetworkView>
  removeNetwork(nameOrId: string): Promise<void>
  pruneNetworks(): Promise<readonly string[]>
  connect(network: string, request: ConnectRequest): Promise<void>
  disconnect(network: string, container: string): Promise<void>

  listServices(): readonly ServiceView[]
  /** `service` is NAME or PROJECT/NAME. */
  updateService(service: string, request: UpdateServiceRequest, report: Report): Promise<void>
  drain(nameOrId: string, request: DrainRequest, report: Report): Promise<void>
  mesh(): Promise<MeshReply>
  /** `protocol` undefined: the one that the port is published with. */
  trace(port: number, protocol?: string): Promise<TraceReply>

  dig(request: DigRequest): Promise<DigReply>
  explain(from: string, name: string, type: string): ExplainReply
  flushDns(): void
}
