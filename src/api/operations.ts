/** What the API can ask of a daemon. The daemon implements it; the server only speaks HTTP. */

import type {
  ConnectRequest,
  ContainerView,
  CreateNetworkRequest,
  DigReply,
  DigRequest,
  ExplainReply,
  NetworkView,
  ProcessView,
  ProjectView,
  Report,
  StatusReply,
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

  dig(request: DigRequest): Promise<DigReply>
  explain(from: string, name: string, type: string): ExplainReply
  flushDns(): void
}
