/** What the API asks of the daemon, done by the parts. Holds no state of its own. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
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
} from '../api/contract.js'
import type { DownOptions, Operations } from '../api/operations.js'
import type { Resolver } from '../../resolver/index.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import { CatalogError, checkEntityName } from '../catalog/check.js'
import { parseProject, readDotEnv, type ParsedProject } from '../providers/compose/index.js'
import { nsenterArguments, readLog } from '../runtime/index.js'
import { dig } from './dig.js'
import { explainLines } from './explain.js'
import { requireContainer, requireNetwork } from './find.js'
import type { MeshOperations } from './mesh-operations.js'
import type { Networks } from './networks.js'
import { refuseLeaving } from './project-declaration.js'
import type { Projects } from './projects.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'
import { environmentOf, type Supervisor } from './supervisor.js'
import { viewContainer, viewNetwork, viewProject } from './views.js'

export interface OperationsOptions {
  readonly state: State
  readonly supervisor: Supervisor
  readonly networks: Networks
  readonly projects: Projects
  readonly sandboxes: Sandboxes
  readonly mesh: MeshOperations
  readonly resolver: Resolver
  /** Addresses that the container's questions go to. */
  readonly upstreamsOf: (container: Container) => readonly string[]
  readonly bridgeOf: (networkId: string) => string | undefined
  readonly status: () => StatusReply
  readonly shutdown: () => void
  /** Called when a project went: a daemon in the background may have nothing left to do. */
  readonly afterDown: () => void
}

/** `scale` waits for dependencies as long as `up` does by default. */
const scaleTimeoutMs = 120_000

export class DaemonOperations implements Operations {
  readonly #options: OperationsOptions

  constructor(options: OperationsOptions) {
    this.#options = options
  }

  status(): Promise<StatusReply> {
    return Promise.resolve(this.#options.status())
  }

  shutdown(): Promise<void> {
    this.#options.shutdown()
    return Promise.resolve()
  }

  listProjects(): readonly ProjectView[] {
    const { snapshot } = this.#options.state
    return [...snapshot.projects.values()].map(project => viewProject(snapshot, project))
  }

  projectNameOf(request: UpRequest): string {
    return parse(request).project.name
  }

  async up(request: UpRequest, report: Report): Promise<void> {
    const { project, warnings } = parse(request)
    for (const message of warnings) report({ kind: 'warning', message })
    const options = {
      removeOrphans: request.removeOrphans,
      isWaiting: request.isWaiting,
      timeoutMs: request.timeoutSeconds * 1000,
    }
    await this.#options.projects.apply(project, options, report)
  }

  async down(project: string, options: DownOptions, report: Report): Promise<void> {
    const graceMs = options.timeoutSeconds === undefined ? undefined : options.timeoutSeconds * 1000
    await this.#options.projects.down(project, graceMs, report)
    this.#options.afterDown()
  }

  scale(
    project: string,
    replicas: Readonly<Record<string, number>>,
    report: Report,
  ): Promise<void> {
    const options = { removeOrphans: false, isWaiting: false, timeoutMs: scaleTimeoutMs }
    return this.#options.projects.scale(project, replicas, options, report)
  }

  listContainers(): readonly ContainerView[] {
    const { snapshot } = this.#options.state
    return [...snapshot.containers.values()]
      .sort(byProjectAndNumber)
      .map(container => viewContainer(snapshot, container))
  }

  getContainer(nameOrId: string): ContainerView {
    return viewContainer(this.#options.state.snapshot, this.#container(nameOrId))
  }

  async startContainer(nameOrId: string): Promise<void> {
    const { state, supervisor } = this.#options
    const { id } = this.#container(nameOrId)
    const container = await state.changeContainer(id, refuseLeaving)
    if (container !== undefined) await supervisor.start(container)
  }

  async stopContainer(nameOrId: string, timeoutSeconds?: number): Promise<void> {
    const { state, supervisor, sandboxes } = this.#options
    const { id } = this.#container(nameOrId)
    const container = await state.changeContainer(id, current =>
      current.desired === 'running' ? { ...current, desired: 'stopped' } : current,
    )
    if (container === undefined) return
    await supervisor.stop(container, {
      ...(timeoutSeconds !== undefined && { graceMs: timeoutSeconds * 1000 }),
      isDrained: timeoutSeconds !== 0,
    })
    await sandboxes.settled()
  }

  async renameContainer(nameOrId: string, name: string): Promise<void> {
    const { state } = this.#options
    checkEntityName('container', name)
    await state.changeContainer(this.#container(nameOrId).id, container => {
      const holder = [...state.snapshot.containers.values()].find(other => other.name === name)
      if (holder === undefined) return { ...container, name }
      throw new CatalogError(
        'CATALOG_NAME_IN_USE',
        `Cannot rename "${container.name}": there is a container "${name}" already`,
      )
    })
  }

  processOf(nameOrId: string): ProcessView {
    const container = this.#container(nameOrId)
    const identity = this.#options.supervisor.identityOf(container)
    const directory = container.spec.workingDirectory
    const options = directory === undefined ? {} : { workingDirectory: directory }
    // The first word is the program, the last the end of its options.
    const words = nsenterArguments(identity, [], options).slice(1)
    return {
      name: container.name,
      nsenter: words.filter(word => word !== '--'),
      environment: environmentOf(container, this.#options.sandboxes.hostnameOf(container)),
    }
  }

  async *logs(
    nameOrId: string,
    options: { readonly tail?: number; readonly follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    const { supervisor, state } = this.#options
    const { id } = this.#container(nameOrId)
    const removed = new AbortController()
    const unsubscribe = state.catalog.subscribe(snapshot => {
      if (!snapshot.containers.has(id)) removed.abort()
    })
    try {
      yield* readLog(supervisor.logPathOf(id), {
        follow: options.follow,
        signal: AbortSignal.any([signal, removed.signal]),
        ...(options.tail !== undefined && { lastLines: options.tail }),
      })
    } finally {
      unsubscribe()
    }
  }

  listNetworks(): readonly NetworkView[] {
    const networks = [...this.#options.state.snapshot.networks.values()]
    return networks.sort(byName).map(network => this.#viewNetwork(network))
  }

  getNetwork(nameOrId: string): NetworkView {
    return this.#viewNetwork(this.#network(nameOrId))
  }

  async createNetwork(request: CreateNetworkRequest): Promise<NetworkView> {
    return this.#viewNetwork(await this.#options.networks.create(request))
  }

  async removeNetwork(nameOrId: string): Promise<void> {
    await this.#options.networks.remove(this.#network(nameOrId))
    this.#options.afterDown()
  }

  pruneNetworks(): Promise<readonly string[]> {
    return this.#options.networks.prune()
  }

  connect(network: string, request: ConnectRequest): Promise<void> {
    return this.#options.networks.connect(this.#network(network), request)
  }

  disconnect(network: string, container: string): Promise<void> {
    return this.#options.networks.disconnect(this.#network(network), container)
  }

  listServices(): readonly ServiceView[] {
    return this.#options.mesh.listServices()
  }

  updateService(service: string, request: UpdateServiceRequest, report: Report): Promise<void> {
    return this.#options.mesh.updateService(service, request, report)
  }

  async drain(nameOrId: string, request: DrainRequest, report: Report): Promise<void> {
    await this.#options.mesh.drain(this.#container(nameOrId), request, report)
  }

  mesh(): Promise<MeshReply> {
    return this.#options.mesh.mesh()
  }

  trace(port: number, protocol?: string): Promise<TraceReply> {
    return this.#options.mesh.trace(port, protocol)
  }

  dig(request: DigRequest): Promise<DigReply> {
    const container = this.#container(request.from)
    this.#options.supervisor.identityOf(container)
    return dig(this.#options.sandboxes, container, request)
  }

  explain(from: string, name: string, type: string): ExplainReply {
    const { state, resolver, supervisor, sandboxes, upstreamsOf } = this.#options
    const container = this.#container(from)
    supervisor.identityOf(container)
    const owner = state.snapshot.containers.get(container.sandboxOf ?? container.id) ?? container
    if (!sandboxes.hasResolver(owner.id)) {
      throw new CatalogError(
        'CATALOG_REFUSED',
        `Container "${container.name}" has no resolver of ours: it is on no network with names`,
      )
    }
    const detail = resolver.explain(owner.id, name, type.toUpperCase())
    return {
      from: container.name,
      name: detail.name,
      type: detail.type,
      lines: explainLines(state.snapshot, owner, detail, upstreamsOf(owner)),
      detail,
    }
  }

  flushDns(): void {
    this.#options.resolver.flushCache()
  }

  #container(nameOrId: string): Container {
    return requireContainer(this.#options.state.snapshot, nameOrId)
  }

  #network(nameOrId: string): Network {
    return requireNetwork(this.#options.state.snapshot, nameOrId)
  }

  #viewNetwork(network: Network): NetworkView {
    const { state, bridgeOf } = this.#options
    return viewNetwork(state.snapshot, network, bridgeOf(network.id))
  }
}

function parse(request: UpRequest): ParsedProject {
  const { files, directory, projectName } = request
  const readFile = (path: string): string | undefined =>
    existsSync(path) ? readFileSync(path, 'utf8') : undefined
  const dotEnv = readDotEnv(readFile(join(directory, '.env')) ?? '')
  return parseProject({
    files,
    projectDirectory: directory,
    // The client's variables win over those of `.env`, as Compose has it.
    environment: { ...dotEnv, ...request.environment },
    readFile,
    ...(projectName !== undefined && { projectName }),
  })
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}

function byProjectAndNumber(a: Container, b: Container): number {
  const key = ({ project, service }: Container): string => `${project ?? ''}\0${service ?? ''}`
  if (key(a) !== key(b)) return key(a) < key(b) ? -1 : 1
  return a.number - b.number
}
