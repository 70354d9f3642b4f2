/**
 * Joins listeners, decision and forwarder, and holds one view per sandbox. Sockets come in as
 * descriptors, so it never learns of namespaces; what a query means is decided in `answer.ts`, and
 * whom to ask and how in `forward/`.
 */

import { closeSync } from 'node:fs'
import { systemClock } from '../src/base/clock.js'
import { CodedError, errorCode, errorMessage } from '../src/base/error.js'
import { Lifetime } from '../src/base/lifetime.js'
import { silentLogger } from '../src/base/log.js'
import { Responder } from './answer.js'
import { explain } from './explain.js'
import { Forwarder } from './forward/forwarder.js'
import { UDP_REPLY_BYTES, newCounters } from './listen/listener.js'
import { chooseUdp } from './listen/choose-udp.js'
import { openTcp } from './listen/tcp.js'
import { LOCAL_ID, LocalResolver, LocalZones } from './local-resolver.js'
import { checkPlace } from './open-options.js'
import { parseType } from './rr.js'
import type { Clock } from '../src/base/clock.js'
import type { Logger } from '../src/base/log.js'
import type { Explanation } from './explain.js'
import type { ForwardCounters, ForwarderOptions } from './forward/forwarder.js'
import type { SocketSpace } from './forward/policy.js'
import type { UpstreamStatus } from './forward/upstream.js'
import type { UdpChoice, UdpKind, UdpTarget } from './listen/choose-udp.js'
import type { Answering, Engine, Listener, QueryCounters } from './listen/listener.js'
import type { Poller } from './listen/poller.js'
import type { TcpTarget } from './listen/tcp.js'
import type { LocalNames } from './open-options.js'
import type { View } from './view.js'

export class SandboxError extends CodedError<
  'SANDBOX_EXISTS' | 'SANDBOX_UNKNOWN' | 'SANDBOX_REMOVED' | 'RESOLVER_CLOSED' | 'TYPE_UNKNOWN'
> {}

export interface ResolverOptions {
  /** Default: batched where recvmmsg can be called (Linux, koffi), else portable. */
  readonly listener?: UdpKind
  /** Default: one of our own. A poller given is not closed by us. */
  readonly poller?: Poller
  /** Limits of forwarding; `clock`, `random` and `logger` are taken from here. */
  readonly forwarder?: Omit<ForwarderOptions, 'clock' | 'random' | 'logger'>
  /** TCP connections of one sandbox. Default 256. */
  readonly maxTcpConnections?: number
  readonly clock?: Clock
  /** Uniform in [0, 1): orders answers. Default Math.random. */
  readonly random?: () => number
  readonly logger?: Logger
}

/** Where `Resolver.open` listens, and what it answers from. */
export interface OpenOptions extends LocalNames, ResolverOptions {
  /** Default 127.0.0.1. A wildcard such as 0.0.0.0 replies from whatever address routes back. */
  readonly address?: string
  /** UDP and TCP. Default 0: any free port. */
  readonly port?: number
}

/** One sandbox to answer in. The descriptors are the resolver's from the call on, also if it fails. */
export interface SandboxOptions {
  readonly id: string
  readonly view: View
  /** A bound UDP socket. */
  readonly udpFd: number
  /** A listening TCP socket. */
  readonly tcpFd: number
  /** Of the UDP socket; only the portable listener needs to be told. Default 4. */
  readonly family?: 4 | 6
  /**
   * The most a UDP reply may have. Default 4096, for 127.0.0.11; 1232 (DNS flag day 2020) for a
   * socket that is reached over a real link.
   */
  readonly udpBytes?: number
}

export interface SandboxStatus {
  readonly id: string
  /** Port that UDP and TCP listen on; 0 while opening. */
  readonly udpPort: number
  readonly tcpPort: number
  readonly queries: Readonly<QueryCounters>
}

export interface ResolverStatus {
  readonly listener: UdpKind
  /** Why the listener is not the batched one. */
  readonly listenerReason: string | undefined
  readonly sandboxes: readonly SandboxStatus[]
  readonly upstreams: readonly UpstreamStatus[]
  readonly forwarding: Readonly<ForwardCounters>
}

interface Sandbox {
  readonly answering: Answering
  udp: Listener | undefined
  tcp: Listener | undefined
}

/** How often a pair of free ports is tried: UDP picks one that TCP may not have. */
const PORT_TRIES = 20

/** At most one line of log for failures that a packet could cause, in so many milliseconds. */
const ERROR_LOG_MS = 1000

/** Answers DNS in any number of sandboxes of one process. */
export class Resolver {
  readonly #lifetime = new Lifetime()
  readonly #sandboxes = new Map<string, Sandbox>()
  readonly #options: ResolverOptions
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #forwarder: Forwarder
  /** By the most that a UDP reply may have. */
  readonly #engines = new Map<number, Engine>()
  readonly #udp: UdpChoice
  #isClosed = false
  #loggedAt = -ERROR_LOG_MS

  /** Listens on nothing yet. */
  constructor(options: ResolverOptions = {}) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
    this.#forwarder = new Forwarder({
      ...options.forwarder,
      clock: this.#clock,
      logger: this.#logger,
    })
    this.#udp = chooseUdp({
      kind: options.listener,
      poller: options.poller,
      onError: error => this.#reportError(error),
    })
    this.#lifetime.defer(() => this.#forwarder.close())
    this.#lifetime.defer(() => this.#udp.close())
  }

  /**
   * Opens one resolver on one address, UDP and TCP on the same port, made of plain data; needs no
   * root. Rejects with OptionError for what is wrong in `options`, with ListenError where the
   * address cannot be had.
   */
  static async open(options: OpenOptions = {}): Promise<LocalResolver> {
    const { address = '127.0.0.1', port = 0 } = options
    checkPlace(address, port)
    const zones = new LocalZones(options)
    const view = zones.view()
    const resolver = new Resolver(options)
    try {
      const place = await resolver.#openPlace(view, address, port)
      return new LocalResolver(resolver, zones, place)
    } catch (error) {
      await resolver.close()
      throw error
    }
  }

  /**
   * Starts to answer in a sandbox. Rejects with SandboxError `SANDBOX_EXISTS`, `RESOLVER_CLOSED`
   * or `SANDBOX_REMOVED` (while it was being added), and with ListenError; the descriptors are
   * closed then.
   */
  async addSandbox(options: SandboxOptions): Promise<void> {
    const { id, view, udpFd, tcpFd, family = 4, udpBytes = UDP_REPLY_BYTES } = options
    try {
      this.#checkNew(id)
    } catch (error) {
      closeQuietly(udpFd)
      closeQuietly(tcpFd)
      throw error
    }
    const targets = { udp: { fd: udpFd, family }, tcp: () => ({ fd: tcpFd }) }
    await this.#listen(id, view, this.#engineOf(udpBytes), targets)
  }

  /** What the sandbox resolves from the next query on. Throws SandboxError `SANDBOX_UNKNOWN`. */
  setView(id: string, view: View): void {
    const { answering } = this.#get(id)
    const { forwarding } = answering.view
    answering.view = view
    this.#forgetSpace(forwarding?.space)
  }

  /** Closes the sandbox's sockets. An unknown id is no error. */
  async removeSandbox(id: string): Promise<void> {
    const sandbox = this.#sandboxes.get(id)
    if (sandbox === undefined) return
    this.#sandboxes.delete(id)
    this.#forgetSpace(sandbox.answering.view.forwarding?.space)
    await Promise.all([sandbox.udp?.close(), sandbox.tcp?.close()])
  }

  /**
   * Why a sandbox's question is answered as it is. Throws SandboxError `SANDBOX_UNKNOWN`,
   * `TYPE_UNKNOWN`, and ResolverError `NAME_INVALID`.
   */
  explain(id: string, name: string, type: string | number = 'A'): Explanation {
    const { view } = this.#get(id).answering
    const number = typeof type === 'number' ? type : parseType(type)
    if (number === undefined) {
      throw new SandboxError(
        'TYPE_UNKNOWN',
        `"${type}" is not a record type such as AAAA or TYPE65`,
      )
    }
    return explain(view, name, number)
  }

  status(): ResolverStatus {
    return {
      listener: this.#udp.kind,
      listenerReason: this.#udp.reason,
      sandboxes: [...this.#sandboxes].map(([id, sandbox]) => ({
        id,
        udpPort: sandbox.udp?.port ?? 0,
        tcpPort: sandbox.tcp?.port ?? 0,
        queries: { ...sandbox.answering.counters },
      })),
      upstreams: this.#forwarder.status(),
      forwarding: { ...this.#forwarder.counters },
    }
  }

  /** Forgets every upstream answer. */
  flushCache(): void {
    this.#forwarder.flushCache()
  }

  /** Closes every socket. Later calls return the same promise. */
  close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true
      this.#lifetime.defer(async () => {
        await Promise.all([...this.#sandboxes.keys()].map(id => this.removeSandbox(id)))
      })
    }
    return this.#lifetime.close()
  }

  /** UDP and TCP on one port; with port 0 the kernel's choice for UDP, if TCP can have it too. */
  async #openPlace(view: View, address: string, port: number): Promise<SocketPlace> {
    for (let tries = 1; ; tries++) {
      try {
        const engine = this.#engineOf(UDP_REPLY_BYTES)
        const tcp = (udpPort: number): TcpTarget => ({ address, port: udpPort })
        const udp = await this.#listen(LOCAL_ID, view, engine, { udp: { address, port }, tcp })
        return { address: udp.address, port: udp.port }
      } catch (error) {
        const isRetried = port === 0 && errorCode(error) === 'LISTEN_ADDRESS_IN_USE'
        if (!isRetried || tries === PORT_TRIES) throw error
      }
    }
  }

  async #listen(id: string, view: View, engine: Engine, targets: Targets): Promise<Listener> {
    const answering: Answering = { view, counters: newCounters() }
    const sandbox: Sandbox = { answering, udp: undefined, tcp: undefined }
    this.#sandboxes.set(id, sandbox)
    try {
      const udp = await this.#openUdp(sandbox, engine, targets)
      sandbox.tcp = await openTcp({
        target: targets.tcp(udp.port),
        answering,
        engine,
        clock: this.#clock,
        maxConnections: this.#options.maxTcpConnections,
      })
      if (this.#sandboxes.get(id) === sandbox) return udp
      throw new SandboxError('SANDBOX_REMOVED', `Sandbox "${id}" was removed while it was added`)
    } catch (error) {
      await Promise.all([sandbox.udp?.close(), sandbox.tcp?.close()])
      if (this.#sandboxes.get(id) === sandbox) this.#sandboxes.delete(id)
      throw error
    }
  }

  async #openUdp(sandbox: Sandbox, engine: Engine, targets: Targets): Promise<Listener> {
    try {
      sandbox.udp = await this.#udp.open(targets.udp, sandbox.answering, engine)
      return sandbox.udp
    } catch (error) {
      const tcp = targets.tcp(0)
      if ('fd' in tcp) closeQuietly(tcp.fd)
      throw error
    }
  }

  /** Sockets in a sandbox go with the last view that has its space. */
  #forgetSpace(space: SocketSpace | undefined): void {
    if (space === undefined) return
    for (const { answering } of this.#sandboxes.values()) {
      if (answering.view.forwarding?.space === space) return
    }
    this.#forwarder.forgetSpace(space)
  }

  #engineOf(udpBytes: number): Engine {
    const known = this.#engines.get(udpBytes)
    if (known !== undefined) return known
    const engine: Engine = {
      responder: new Responder({ random: this.#options.random ?? Math.random, udpBytes }),
      forwarder: this.#forwarder,
      udpBytes,
      onError: error => this.#reportError(error),
    }
    this.#engines.set(udpBytes, engine)
    return engine
  }

  #checkNew(id: string): void {
    if (this.#isClosed) {
      throw new SandboxError(
        'RESOLVER_CLOSED',
        `Cannot add sandbox "${id}": the resolver is closed`,
      )
    }
    if (this.#sandboxes.has(id)) {
      throw new SandboxError('SANDBOX_EXISTS', `Cannot add sandbox "${id}": it is there already`)
    }
  }

  #get(id: string): Sandbox {
    const sandbox = this.#sandboxes.get(id)
    if (sandbox !== undefined) return sandbox
    throw new SandboxError('SANDBOX_UNKNOWN', `There is no sandbox "${id}" here`)
  }

  #reportError(error: unknown): void {
    const now = this.#clock.now()
    if (now - this.#loggedAt < ERROR_LOG_MS) return
    this.#loggedAt = now
    this.#logger.error({ err: error }, `A listener failed on a packet: ${errorMessage(error)}`)
  }
}

/** Where one sandbox is listened to; TCP may want to know what port UDP got. */
interface Targets {
  readonly udp: UdpTarget
  readonly tcp: (udpPort: number) => TcpTarget
}

interface SocketPlace {
  readonly address: string
  readonly port: number
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // The caller gets the first error; a descriptor that is not open needs no closing.
  }
}
