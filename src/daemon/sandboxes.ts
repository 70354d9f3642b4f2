/**
 * Sandboxes of containers: the network namespace, its links, its resolver's sockets and rules, and the
 * /etc files that go with them. Opened, adopted, changed while they run, closed without a trace.
 */

import { createSocket } from 'node:dgram'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { Container } from '../catalog/container.js'
import type { SocketSpace } from '../../resolver/forward/policy.js'
import type { Resolver } from '../../resolver/index.js'
import type { BridgeDriver } from '../drivers/bridge.js'
import { closeNetns, createNetns, openNetns, runInNetns, type Netns } from '../kernel/netns.js'
import { unboundTcp, unboundUdp } from '../kernel/socket.js'
import { planSandbox } from '../plan/sandbox.js'
import { rewriteFile, type ContainerFiles, type Poller } from '../runtime/index.js'
import type { HostResolver } from './host-resolver.js'
import { composeFiles, type SandboxFiles } from './files.js'
import type { Names } from './names.js'
import { installResolverRules, openResolverSockets } from './resolver-sockets.js'
import { sandboxTables, watchSandbox, type SandboxWatch } from './sandbox-watch.js'
import type { State } from './state.js'

/** A sandbox as a process is started in it. */
export interface OpenSandbox {
  /** Absent: the host's own network stack. */
  readonly netns?: Netns
  readonly hostname?: string
  readonly files: ContainerFiles
}

export interface SandboxesOptions {
  readonly state: State
  readonly names: Names
  readonly resolver: Resolver
  readonly driver: BridgeDriver
  readonly hostResolver: HostResolver
  readonly poller: Poller
  readonly logger: Logger
  readonly mesh: SandboxMesh
}

/** What the mesh does in a sandbox. */
export interface SandboxMesh {
  /** Written when this returns: nobody connects before. Throws KernelError. */
  openSandbox(container: Container, netns: Netns): void
  /** As an earlier daemon left it: names need not wait for the comparison. */
  adoptSandbox(container: Container, netns: Netns): void
  closeSandbox(containerId: string): void
  /** Somebody changed the mesh's rules there. */
  restoreSandbox(containerId: string): void
}

/** An own sandbox: what has to be undone. */
interface Own extends OpenSandbox {
  readonly directory: string
  readonly netns: Netns
  /** One for the life of the sandbox: the forwarder knows its sockets by it. */
  readonly space: SocketSpace
  /** Where the resolver listens, once it does. */
  resolverPorts?: { readonly udp: number; readonly tcp: number }
  watch?: SandboxWatch
}

export class Sandboxes {
  readonly #options: SandboxesOptions
  readonly #own = new Map<string, Own>()

  constructor(options: SandboxesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#own.size
  }

  /** The sandbox for a start: made, or as it still is from the run before. */
  async open(container: Container, directory: string): Promise<OpenSandbox> {
    const existing = this.#own.get(container.id)
    if (existing !== undefined) return existing
    const mode = container.spec.networkMode.kind
    if (mode === 'host') {
      const files = this.#writeFiles(container, directory, true)
      return { files, ...named(container) }
    }
    if (container.sandboxOf !== undefined) return this.#shared(container)
    // Its last one may still be on its way out, with the same addresses.
    await this.#options.driver.settled(container.endpoints.map(({ id }) => id))
    return this.#create(container, directory, createNetns(), true)
  }

  /** The sandbox of a container that an earlier daemon started. */
  async adopt(container: Container, directory: string, initPid: number): Promise<void> {
    const isOwn = container.spec.networkMode.kind !== 'host' && container.sandboxOf === undefined
    if (!isOwn || this.#own.has(container.id)) return
    await this.#create(container, directory, openNetns(`/proc/${initPid}/ns/net`), false)
  }

  /** Follows a change of the container's endpoints, or of the host's resolv.conf. */
  async update(container: Container): Promise<void> {
    const own = this.#own.get(container.id)
    if (own === undefined) return
    this.#reconcileLinks(container, own.netns)
    await this.#listen(container, own)
    this.#writeFiles(container, own.directory, false)
  }

  /** Whether a resolver of ours listens in the sandbox of a container. */
  hasResolver(containerId: string): boolean {
    return this.#own.get(containerId)?.resolverPorts !== undefined
  }

  /** What the container calls itself; undefined where that is the host's own name. */
  hostnameOf(container: Container): string | undefined {
    const owner = this.#options.state.snapshot.containers.get(container.sandboxOf ?? '')
    return named(owner ?? container).hostname
  }

  /** The /etc files of an own sandbox. */
  filesOf(containerId: string): ContainerFiles | undefined {
    return this.#own.get(containerId)?.files
  }

  /**
   * Checks every sandbox against the kernel and mends what differs, with time for queries in between.
   * Rejects with the first failure once all were tried.
   */
  async reconcileAll(): Promise<void> {
    const failures: unknown[] = []
    for (const id of [...this.#own.keys()]) {
      const container = this.#options.state.snapshot.containers.get(id)
      if (container === undefined) continue
      try {
        await this.update(container)
      } catch (error) {
        failures.push(error)
      }
      await setImmediate()
    }
    if (failures.length > 0) throw failures[0]
  }

  /** Removes links, rules and sockets. The namespace goes with its last process. */
  close(containerId: string): void {
    const own = this.#own.get(containerId)
    if (own === undefined) return
    const { names, resolver, driver, state, logger, mesh } = this.#options
    this.#own.delete(containerId)
    names.removeOutlook(containerId)
    mesh.closeSandbox(containerId)
    own.watch?.close()
    resolver
      .removeSandbox(containerId)
      .catch((error: unknown) => logger.warn({ containerId }, errorMessage(error)))
    const container = state.snapshot.containers.get(containerId)
    try {
      driver.removeEndpoints(container?.endpoints.map(({ id }) => id) ?? [])
    } finally {
      closeNetns(own.netns)
    }
  }

  /** Resolves when the links of closed sandboxes are gone. */
  settled(): Promise<void> {
    return this.#options.driver.settled()
  }

  /** Lets go of every sandbox; they stay as they are for their processes. */
  async release(): Promise<void> {
    for (const [id, own] of this.#own) {
      own.watch?.close()
      this.#options.names.removeOutlook(id)
      closeNetns(own.netns)
    }
    this.#own.clear()
  }

  /**
   * Runs `body` in the network namespace of a container, or in the host's for `network_mode: host`. Throws
   * where the sandbox is not there: what is meant for a container must never happen to the host.
   */
  runIn<T>(container: Container, body: () => T): T {
    const { containers } = this.#options.state.snapshot
    const owner = containers.get(container.sandboxOf ?? container.id) ?? container
    const own = this.#own.get(owner.id)
    if (own !== undefined) return runInNetns(own.netns, body)
    if (owner.spec.networkMode.kind === 'host') return body()
    throw new Error(`Container "${container.name}" has no sandbox now; start it first`)
  }

  async #create(
    container: Container,
    directory: string,
    netns: Netns,
    isFresh: boolean,
  ): Promise<OpenSandbox> {
    const files = this.#writeFiles(container, directory, isFresh)
    const space = sandboxSpace(netns)
    const own: Own = { netns, space, directory, files, ...named(container) }
    this.#own.set(container.id, own)
    try {
      this.#reconcileLinks(container, netns)
      await this.#listen(container, own)
      if (isFresh) this.#options.mesh.openSandbox(container, netns)
      else this.#options.mesh.adoptSandbox(container, netns)
      this.#watch(container, own)
      return own
    } catch (error) {
      this.close(container.id)
      throw error
    }
  }

  #shared(container: Container): OpenSandbox {
    const { snapshot } = this.#options.state
    const owner = snapshot.containers.get(container.sandboxOf ?? '')
    const own = this.#own.get(owner?.id ?? '')
    if (owner !== undefined && own !== undefined) {
      return { netns: own.netns, files: own.files, ...named(owner) }
    }
    if (owner?.spec.networkMode.kind === 'host') {
      return { files: {}, ...named(container) }
    }
    throw new Error(
      `Cannot start "${container.name}": "${owner?.name ?? container.sandboxOf}", whose network it shares, is not running`,
    )
  }

  #reconcileLinks(container: Container, netns: Netns): void {
    const { state, driver } = this.#options
    const { attached, gateway4, gateway6 } = planSandbox(state.snapshot, container)
    driver.reconcileSandbox({
      netns,
      name: container.name,
      endpoints: attached,
      ...(gateway4 && { gateway4: gateway4.endpoint.id }),
      ...(gateway6 && { gateway6: gateway6.endpoint.id }),
    })
  }

  /** A resolver in the sandbox from the first network with names on; it stays while the sandbox does. */
  async #listen(container: Container, own: Own): Promise<void> {
    const { state, names, resolver, hostResolver } = this.#options
    const plan = planSandbox(state.snapshot, container)
    if (container.spec.networkMode.kind !== 'networks') return
    const outlook = hostResolver.outlookOf(container, own.space)
    if (own.resolverPorts !== undefined) {
      this.#restoreResolver(container.id)
      resolver.setView(container.id, names.setOutlook(state.snapshot, container, outlook))
      return
    }
    if (!plan.hasResolver) return
    const { udpFd, tcpFd, udpPort, tcpPort } = openResolverSockets(own.netns)
    const view = names.setOutlook(state.snapshot, container, outlook)
    await resolver.addSandbox({ id: container.id, view, udpFd, tcpFd })
    // Rules last: before them a query finds nobody, after them it finds somebody who listens.
    try {
      runInNetns(own.netns, () => installResolverRules(udpPort, tcpPort))
      own.resolverPorts = { udp: udpPort, tcp: tcpPort }
    } catch (error) {
      // The next try finds the sandbox as it was before this one.
      await resolver.removeSandbox(container.id)
      throw error
    }
  }

  /** The DNS rules, where somebody took them. */
  #restoreResolver(containerId: string): void {
    const own = this.#own.get(containerId)
    if (own?.resolverPorts === undefined) return
    const { udp, tcp } = own.resolverPorts
    const { logger } = this.#options
    try {
      if (!runInNetns(own.netns, () => installResolverRules(udp, tcp))) return
      logger.warn({}, `Somebody changed the table ip ${sandboxTables.dns} of a sandbox; it is back`)
    } catch (error) {
      logger.error({}, `Cannot restore the rules of a sandbox: ${errorMessage(error)}`)
    }
  }

  #watch({ id }: Container, own: Own): void {
    const { poller, mesh } = this.#options
    own.watch = watchSandbox(own.netns, poller, tables => {
      if (tables.has(sandboxTables.dns)) this.#restoreResolver(id)
      if (tables.has(sandboxTables.ingress) || tables.has(sandboxTables.vip)) {
        mesh.restoreSandbox(id)
      }
    })
  }

  #writeFiles(container: Container, directory: string, isFresh: boolean): ContainerFiles {
    const { state, hostResolver } = this.#options
    const texts: SandboxFiles = composeFiles(state.snapshot, container, hostResolver.current)
    const files = {
      resolvConf: join(directory, 'resolv.conf'),
      hosts: join(directory, 'hosts'),
      hostname: join(directory, 'hostname'),
    }
    rewriteFile(files.resolvConf, texts.resolvConf, isFresh)
    rewriteFile(files.hosts, texts.hosts, isFresh)
    rewriteFile(files.hostname, texts.hostname, isFresh)
    return files
  }
}

/** Docker's default hostname is the short id. The host's own stays with `network_mode: host`. */
function named({ id, spec }: Container): { readonly hostname?: string } {
  if (spec.hostname !== undefined) return { hostname: spec.hostname }
  return spec.networkMode.kind === 'host' ? {} : { hostname: id.slice(0, 12) }
}

/** Sockets to upstreams that are asked from inside the sandbox (`dns:`). */
function sandboxSpace(netns: Netns): SocketSpace {
  return {
    udp(family) {
      const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
      socket.bind({ fd: runInNetns(netns, () => unboundUdp(family)) })
      return socket
    },
    tcp: family => new Socket({ fd: runInNetns(netns, () => unboundTcp(family)) }),
  }
}
