/**
 * The life of containers: started in their sandboxes, watched, probed, started again by their policy,
 * stopped and removed. What an earlier daemon left is taken over in recovery.ts.
 *
 * A container that stops is out of DNS before its process hears of it; one whose process dies is out
 * in the turn of the event loop in which the kernel tells.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock, Timer } from '../base/clock.js'
import { CodedError, errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import {
  initialStatus,
  type Container,
  type ContainerStatus,
  type ProcessIdentity,
} from '../catalog/container.js'
import {
  decideRestart,
  execInContainer,
  FIRST_START,
  HealthMonitor,
  repairFiles,
  rotateLog,
  startProcess,
  stopProcess,
  watchCommand,
  watchProcess,
  type Poller,
  type ProcessExit,
  type ProcessWatch,
  type RestartState,
} from '../runtime/index.js'
import type { Addresses } from './addresses.js'
import { Mutex } from './mutex.js'
import type { ReadinessKeeper, ReadinessWatch } from './readiness.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'

export class SupervisorError extends CodedError<
  'CONTAINER_NOT_RUNNING' | 'CONTAINER_NOT_STARTED'
> {}

export interface SupervisorOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly sandboxes: Sandboxes
  readonly poller: Poller
  readonly clock: Clock
  readonly logger: Logger
  /** The directory that holds a directory a container. */
  readonly directory: string
  readonly drainer: Drainer
  readonly readiness: ReadinessKeeper
}

/** Takes a replica out of the mesh before its program hears of its end. */
export interface Drainer {
  /**
   * Resolves when no node sends it new connections, and its established ones are done or the deadline
   * has passed and they were reset. `isOver` ends the waiting.
   */
  leave(container: Container, deadlineMs: number, isOver: () => boolean): Promise<void>
  /** How long connections of this replica may go on, and whether its program is told first. */
  termsOf(container: Container): { readonly drainMs: number; readonly isSignalFirst: boolean }
}

/** How a container is stopped. */
export interface StopOptions {
  /** Between the stop signal and SIGKILL; absent: as declared. */
  readonly graceMs?: number
  /** False: its connections end with it. */
  readonly isDrained: boolean
}

/** What only this daemon's process knows of a running container. */
interface Live {
  readonly identity: ProcessIdentity
  readonly watch: ProcessWatch
  /** Of the command: it is gone before its init has written the exit code. */
  readonly command: ProcessWatch
  readonly monitor?: HealthMonitor
  readonly readiness?: ReadinessWatch
  /** Clock milliseconds. */
  readonly startedAt: number
  /** Set when the command has ended and its init has not: whoever starts it anew waits for that. */
  isEnding: boolean
  /** Who waits for the end. */
  readonly waiting: (() => void)[]
}

/** Docker's advice for its json-file driver: 10 MB a file. */
const logBounds = { maximumBytes: 10_000_000, keptFiles: 1 } as const
/** A program that prints without end fills a disk in minutes. */
const logPeriodMs = 1000
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #live = new Map<string, Live>()
  readonly #restarts = new Map<string, RestartState>()
  readonly #timers = new Map<string, Timer>()
  /** Ids whose stop was asked for: their exit is no reason to restart. */
  readonly #stopping = new Set<string>()
  /** Ids whose end is not to wait for connections: whoever waits for some of theirs waits no more. */
  readonly #hurried = new Set<string>()
  readonly #turns = new Map<string, Mutex>()
  #isClosed = false

  constructor(options: SupervisorOptions) {
    this.#options = options
  }

  /** The directory of a container: its /etc files, log, identity and exit code. */
  directoryOf(id: string): string {
    return join(this.#options.directory, id)
  }

  logPathOf(id: string): string {
    return join(this.directoryOf(id), 'log')
  }

  isRunning(id: string): boolean {
    return this.#live.has(id)
  }

  identityOf(container: Container): ProcessIdentity {
    const live = this.#live.get(container.id)
    if (live !== undefined) return live.identity
    throw new SupervisorError(
      'CONTAINER_NOT_RUNNING',
      `Container "${container.name}" is not running; \`portolan start ${container.name}\` starts it`,
    )
  }

  /**
   * Starts a container that does not run; its record already wants it to. Throws SupervisorError
   * `CONTAINER_NOT_STARTED` or RuntimeError, and keeps the reason in the status.
   */
  start(container: Container): Promise<void> {
    const { id } = container
    return this.#inTurn(id, async () => {
      // As it is now: the wait for the turn may have brought its removal.
      const live = this.#live.get(id)
      if (live?.isEnding) await new Promise<void>(resolve => live.waiting.push(resolve))
      const current = this.#options.state.snapshot.containers.get(id)
      if (this.#live.has(id) || current?.desired !== 'running') return
      this.#cancelRestart(id)
      this.#stopping.delete(id)
      this.#hurried.delete(id)
      this.#restarts.delete(id)
      try {
        await this.#launch(current)
      } catch (error) {
        this.#closeSandbox(container)
        this.#observe(container, {
          state: 'exited',
          failure: errorMessage(error),
          finishedAt: new Date().toISOString(),
        })
        throw error
      }
    })
  }

  /** Out of DNS, then the stop signal, then SIGKILL; returns when nothing of it is left. */
  stop(container: Container, options: StopOptions): Promise<void> {
    // Before its turn: a restart that is due must not begin while the stop waits.
    this.#stopping.add(container.id)
    if (!options.isDrained) this.#hurried.add(container.id)
    this.#cancelRestart(container.id)
    return this.#inTurn(container.id, () => this.#stop(container, options))
  }

  async #stop(container: Container, options: StopOptions): Promise<void> {
    const { id } = container
    const live = this.#live.get(id)
    const status = this.statusOf(container)
    if (live === undefined) {
      if (status.state === 'restarting') this.#observe(container, { state: 'exited' })
      this.#closeSandbox(container)
      return
    }
    live.monitor?.close()
    live.readiness?.close()
    const graceMs = await this.#leave(container, live, options)
    const exit = await stopProcess(live.identity, this.#options.poller, {
      signal: container.spec.stopSignal,
      graceMs,
      clock: this.#options.clock,
    })
    // The watch may have told already; whoever is second finds nothing left to do.
    this.#onExit(id, live, exit)
  }

  /** Out of DNS and out of the mesh, then its connections. Returns how long it then has to end. */
  async #leave(container: Container, live: Live, options: StopOptions): Promise<number> {
    const { drainer, logger } = this.#options
    const { graceMs = container.spec.stopGraceMs, isDrained } = options
    const { drainMs, isSignalFirst } = drainer.termsOf(container)
    if (!isDrained || drainMs === 0) {
      this.#observe(container, { state: 'stopping' })
      return graceMs
    }
    // A daemon that died meanwhile began it: the deadline stays.
    const known = this.statusOf(container).drainUntil
    const drainUntil = known ?? new Date(Date.now() + drainMs).toISOString()
    this.#observe(container, { state: 'stopping', drainUntil })
    const left = Math.max(0, Date.parse(drainUntil) - Date.now())
    const isOver = (): boolean =>
      this.#live.get(container.id) !== live || live.isEnding || this.#hurried.has(container.id)
    try {
      await drainer.leave(container, isSignalFirst ? 0 : left, isOver)
    } catch (error) {
      logger.warn({ container: container.name }, `Stopped undrained: ${errorMessage(error)}`)
    }
    return isSignalFirst ? Math.max(graceMs, left) : graceMs
  }

  /** Stops it, frees its addresses and forgets it, in one turn. The record says `removed` already. */
  remove(container: Container, options: StopOptions): Promise<void> {
    const { id } = container
    this.#stopping.add(id)
    if (!options.isDrained) this.#hurried.add(id)
    this.#cancelRestart(id)
    return this.#inTurn(id, async () => {
      const { state, addresses, sandboxes } = this.#options
      if (!state.snapshot.containers.has(id)) return
      await this.#stop(container, options)
      sandboxes.close(id)
      rmSync(this.directoryOf(id), { recursive: true, force: true })
      await state.declare([{ op: 'remove-container', id }])
      addresses.release(container.endpoints)
      this.#restarts.delete(id)
      this.#stopping.delete(id)
      this.#hurried.delete(id)
      this.#turns.delete(id)
    })
  }

  /** Puts /etc files back that a rename on the host took from under running containers. */
  repairFiles(): void {
    for (const [id, { identity }] of this.#live) {
      const files = this.#options.sandboxes.filesOf(id)
      if (files === undefined) continue
      try {
        repairFiles(identity, files)
      } catch (error) {
        this.#options.logger.warn({ container: identity.name }, errorMessage(error))
      }
    }
  }

  /** Cuts logs that have grown too large, now and from here on. */
  async watchLogs(): Promise<void> {
    for (const id of [...this.#live.keys()]) {
      try {
        await rotateLog(this.logPathOf(id), logBounds)
      } catch (error) {
        this.#options.logger.warn({ id }, `Cannot cut a log: ${errorMessage(error)}`)
      }
    }
    if (!this.#isClosed) this.#options.clock.after(logPeriodMs, () => void this.watchLogs())
  }

  /** Lets go of everything; containers go on running. */
  close(): void {
    this.#isClosed = true
    for (const { watch, command, monitor, readiness } of this.#live.values()) {
      readiness?.close()
      watch.stop()
      command.stop()
      monitor?.close()
    }
    for (const timer of this.#timers.values()) timer.cancel()
  }

  async #launch(container: Container): Promise<void> {
    const { sandboxes, clock } = this.#options
    const { id, spec } = container
    const directory = this.directoryOf(id)
    mkdirSync(directory, { recursive: true, mode: 0o755 })
    const sandbox = await sandboxes.open(container, directory)
    const identity = await startProcess({
      name: container.name,
      runDir: directory,
      ...(sandbox.netns && { netns: sandbox.netns }),
      argv: spec.argv,
      env: environmentOf(container, sandbox.hostname),
      ...(spec.workingDirectory !== undefined && { workingDirectory: spec.workingDirectory }),
      ...(sandbox.hostname !== undefined && { hostname: sandbox.hostname }),
      ...(spec.domainname !== undefined && { domainname: spec.domainname }),
      files: sandbox.files,
      logPath: this.logPathOf(id),
    })
    this.follow(container, identity, clock.now())
  }

  /** From here on the container is alive for this daemon. `startedAt` in clock milliseconds. */
  follow(container: Container, identity: ProcessIdentity, startedAt: number): void {
    const { poller } = this.#options
    const status = this.statusOf(container)
    const hasCheck = container.spec.healthcheck !== undefined
    // One that was on its way out stays out: the stop that was under way is finished soon.
    const isLeaving = status.state === 'stopping' && container.desired !== 'running'
    const isSame = status.process?.startTime === identity.startTime
    const isAdopted = (status.state === 'running' || isLeaving) && isSame
    const { exitCode: _code, failure: _failure, finishedAt: _finished, ...rest } = status
    const readiness = this.#options.readiness.initial(container)
    const next: ContainerStatus = isAdopted
      ? status
      : {
          ...rest,
          ...initialStatus(container.id, hasCheck),
          restartCount: status.restartCount,
          state: 'running',
          ...(readiness && { readiness }),
          process: identity,
          startedAt: new Date().toISOString(),
        }
    const environment = environmentOf(container, this.#options.sandboxes.hostnameOf(container))
    const known = isAdopted ? status.readiness : undefined
    const watch = this.#options.readiness.open(container, identity, environment, known)
    const live: Live = {
      identity,
      startedAt,
      isEnding: false,
      waiting: [],
      watch: watchProcess(identity, poller, exit => this.#onExit(container.id, live, exit)),
      command: watchCommand(identity, poller, () => this.#onCommandEnd(container.id, live)),
      ...this.#monitor(container, identity, next),
      ...(watch && { readiness: watch }),
    }
    this.#live.set(container.id, live)
    this.#options.state.observe(next)
  }

  #monitor(
    container: Container,
    identity: ProcessIdentity,
    status: ContainerStatus,
  ): { readonly monitor?: HealthMonitor } {
    const check = container.spec.healthcheck
    if (check === undefined) return {}
    const { clock } = this.#options
    const env = environmentOf(container, this.#options.sandboxes.hostnameOf(container))
    const known = status.health === 'none' ? 'starting' : status.health
    const monitor = new HealthMonitor({
      check,
      clock,
      probe: (argv, timeoutMs) => execInContainer(identity, argv, { env, timeoutMs }),
      onResult: ({ status: health }, before) => {
        if (health === before.status) return
        const current = this.#options.state.snapshot.containers.get(container.id)
        if (current === undefined) return
        const isHealthy = health === 'healthy'
        this.#observe(current, { health, ...(isHealthy && { hasBeenHealthy: true }) })
      },
      known: {
        health: { status: known, failingStreak: 0, results: [] },
        runningForMs:
          status.startedAt === undefined ? 0 : Date.now() - Date.parse(status.startedAt),
      },
    })
    return { monitor }
  }

  /** Nothing answers at its addresses any more, so its names go now. */
  #onCommandEnd(id: string, live: Live): void {
    const container = this.#options.state.snapshot.containers.get(id)
    if (this.#live.get(id) !== live || container === undefined) return
    live.isEnding = true
    this.#observe(container, { state: 'stopping' })
  }

  /** A process ended. Called by its watch and by the stop that waits for it; acts once. */
  #onExit(id: string, live: Live, exit: ProcessExit): void {
    if (this.#live.get(id) !== live) return
    this.#live.delete(id)
    live.watch.stop()
    live.command.stop()
    live.monitor?.close()
    live.readiness?.close()
    for (const resolve of live.waiting) resolve()
    const container = this.#options.state.snapshot.containers.get(id)
    if (container === undefined) return
    this.settle(container, exit, this.#options.clock.now() - live.startedAt)
  }

  /** A run is over: what its policy says is done, in this turn of the event loop. */
  settle(container: Container, exit: ProcessExit, ranForMs: number): void {
    const { id } = container
    const wasStopped = this.#stopping.has(id) || container.desired !== 'running'
    const decision = decideRestart(container.spec.restart, this.#restarts.get(id) ?? FIRST_START, {
      exitCode: exit.code,
      ranForMs,
      wasStopped,
    })
    const status = this.statusOf(container)
    const { process: _process, drainUntil: _until, readiness: _readiness, ...rest } = status
    const willRestart = decision.kind === 'restart'
    this.#options.state.observe({
      ...rest,
      state: willRestart ? 'restarting' : 'exited',
      health: status.health === 'none' ? 'none' : 'starting',
      hasBeenHealthy: false,
      exitCode: exit.code,
      restartCount: willRestart ? decision.state.restartCount : status.restartCount,
      finishedAt: new Date().toISOString(),
    })
    if (decision.kind === 'stay') {
      this.#closeSandbox(container)
      return
    }
    this.#restarts.set(id, decision.state)
    this.scheduleRestart(id, decision.delayMs)
  }

  scheduleRestart(id: string, delayMs: number): void {
    const timer = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(id)
      const container = this.#options.state.snapshot.containers.get(id)
      if (container === undefined || this.#isClosed) return
      const relaunch = this.#inTurn(id, async () => {
        const current = this.#options.state.snapshot.containers.get(id)
        if (current?.desired !== 'running' || this.#stopping.has(id) || this.#live.has(id)) return
        await this.#launch(current)
      })
      relaunch.catch((error: unknown) => {
        this.#options.logger.warn({ container: container.name }, errorMessage(error))
        this.#observe(container, { failure: errorMessage(error) })
        this.settle(container, notStarted, 0)
      })
    })
    this.#timers.set(id, timer)
  }

  /** A sandbox stays while anybody lives in it: its own container, or one that shares it. */
  #closeSandbox({ id, sandboxOf = id }: Container): void {
    const joiners = this.#options.state.snapshot.joiners.get(sandboxOf) ?? []
    const isInUse = [sandboxOf, ...joiners].some(one => this.#live.has(one))
    const isExpected = this.#timers.has(sandboxOf)
    if (!isInUse && !isExpected) this.#options.sandboxes.close(sandboxOf)
  }

  /** Starts, restarts and stops of one container, one after the other. */
  #inTurn<T>(id: string, body: () => Promise<T>): Promise<T> {
    const turn = this.#turns.get(id) ?? new Mutex()
    this.#turns.set(id, turn)
    return turn.run(body)
  }

  #cancelRestart(id: string): void {
    this.#timers.get(id)?.cancel()
    this.#timers.delete(id)
  }

  statusOf(container: Container): ContainerStatus {
    const known = this.#options.state.snapshot.statuses.get(container.id)
    return known ?? initialStatus(container.id, container.spec.healthcheck !== undefined)
  }

  #observe(container: Container, change: Partial<ContainerStatus>): void {
    this.#options.state.observe({ ...this.statusOf(container), ...change })
  }
}

/** A shell's code for a command that could not be started. */
const notStarted: ProcessExit = { code: 127, isRecorded: false }

/** What the command gets: what was declared, and what every program expects. */
export function environmentOf(container: Container, hostname?: string): Record<string, string> {
  return {
    PATH: defaultPath,
    HOME: '/root',
    ...(hostname !== undefined && { HOSTNAME: hostname }),
    ...container.spec.environment,
  }
}
