/**
 * Taking over what an earlier daemon left: living containers are adopted as they are, ends that nobody
 * saw are acted on, stops that were under way are finished, and what no record knows goes.
 */

import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../base/clock.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { Container } from '../catalog/container.js'
import {
  isAlive,
  isStartedWithDaemon,
  killProcess,
  readExit,
  readIdentity,
  type Poller,
  type ProcessExit,
} from '../runtime/index.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'
import type { Supervisor } from './supervisor.js'

export interface RecoveryOptions {
  readonly state: State
  readonly supervisor: Supervisor
  readonly sandboxes: Sandboxes
  readonly poller: Poller
  readonly clock: Clock
  readonly logger: Logger
  /** The directory that holds a directory a container. */
  readonly directory: string
}

/** Of a process that left no word: as if killed. */
const unknownExit: ProcessExit = { code: 137, isRecorded: false }

/** Quick: everything that lives is looked after again. Containers that never started stay `created`. */
export async function recoverContainers(options: RecoveryOptions): Promise<void> {
  const containers = [...options.state.snapshot.containers.values()]
  const owners = containers.filter(({ sandboxOf }) => sandboxOf === undefined)
  const joiners = containers.filter(({ sandboxOf }) => sandboxOf !== undefined)
  for (const container of [...owners, ...joiners]) {
    try {
      await recoverContainer(options, container)
    } catch (error) {
      options.logger.error(
        { container: container.name },
        `Cannot adopt "${container.name}": ${errorMessage(error)}`,
      )
    }
  }
}

/** Slow, for grace periods are kept: the stops and removals that the last daemon did not finish. */
export async function finishStops(options: RecoveryOptions): Promise<void> {
  const { state, supervisor, logger } = options
  const containers = [...state.snapshot.containers.values()]
  const results = await Promise.allSettled(
    containers.map(async container => {
      if (container.desired === 'removed') await supervisor.remove(container, { isDrained: true })
      else if (container.desired === 'stopped' && supervisor.isRunning(container.id)) {
        await supervisor.stop(container, { isDrained: true })
      }
    }),
  )
  for (const result of results) {
    if (result.status === 'rejected') logger.error({}, errorMessage(result.reason))
  }
  await sweepDirectories(options)
}

async function recoverContainer(options: RecoveryOptions, container: Container): Promise<void> {
  const { supervisor, clock } = options
  const status = supervisor.statusOf(container)
  const directory = supervisor.directoryOf(container.id)
  // On disk before the app runs, so newer than the status where the daemon died in between.
  const identity = readIdentity(directory) ?? status.process
  if (identity !== undefined && isAlive(identity)) {
    await adoptSandbox(options, container, identity.initPid)
    const ranForMs = status.startedAt === undefined ? 0 : Date.now() - Date.parse(status.startedAt)
    supervisor.follow(container, identity, clock.now() - ranForMs)
    return
  }
  if (status.state === 'created') return
  if (status.state !== 'exited') {
    supervisor.settle(container, identity === undefined ? unknownExit : readExit(directory), 0)
    return
  }
  const isWanted = container.desired === 'running' && status.exitCode === undefined
  if (isWanted && isStartedWithDaemon(container.spec.restart, false)) {
    supervisor.scheduleRestart(container.id, 0)
  }
}

/** The sandbox a living process is in: its own, or its owner's, also where the owner has ended. */
async function adoptSandbox(
  { state, supervisor, sandboxes }: RecoveryOptions,
  container: Container,
  initPid: number,
): Promise<void> {
  const owner = state.snapshot.containers.get(container.sandboxOf ?? container.id)
  if (owner !== undefined) await sandboxes.adopt(owner, supervisor.directoryOf(owner.id), initPid)
}

/** Directories of containers that nobody knows: a crash between the start and the record. */
async function sweepDirectories(options: RecoveryOptions): Promise<void> {
  const { state, directory, poller, logger } = options
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  for (const id of readdirSync(directory)) {
    if (state.snapshot.containers.has(id)) continue
    const path = join(directory, id)
    const identity = readIdentity(path)
    if (identity !== undefined && isAlive(identity)) {
      logger.warn({ id }, `Ending "${identity.name}": it runs and no record knows it`)
      await killProcess(identity, poller)
    }
    rmSync(path, { recursive: true, force: true })
  }
}
