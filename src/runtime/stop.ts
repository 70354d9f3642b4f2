/** Ends containers: the stop signal to the app, and after the grace period SIGKILL to everything. */

import { closeSync } from 'node:fs'
import { systemClock } from '../base/clock.js'
import type { Clock } from '../base/clock.js'
import { errorCode } from '../base/error.js'
import { openPidfd, signalPidfd } from '../kernel/pidfd.js'
import { RuntimeError } from './error.js'
import { isAlive, readIdentity, readParentPid } from './identity.js'
import type { ProcessIdentity } from '../catalog/container.js'
import type { ProcessExit } from './identity.js'
import { parseSignal } from './signal.js'
import { takeExit, watchProcess } from './watch.js'
import type { Poller } from './watch.js'

export interface StopOptions {
  /** Compose's `stop_signal`. Default SIGTERM. */
  readonly signal?: string
  /** Compose's `stop_grace_period`. Default 10 s; 0 kills at once. */
  readonly graceMs?: number
  readonly clock?: Clock
}

/** Docker's default `stop_grace_period`. */
export const DEFAULT_GRACE_MS = 10_000
/** A process in uninterruptible sleep (a dead NFS server) survives even SIGKILL for a while. */
const KILL_TIMEOUT_MS = 10_000
const SIGKILL = 9

/**
 * Stops the container and returns how it ended, with nothing of it left. One that has ended already
 * is no error. Throws RuntimeError `RUNTIME_BAD_SPECIFICATION`, `RUNTIME_STOP_FAILED`.
 */
export async function stopProcess(
  identity: ProcessIdentity,
  poller: Poller,
  options: StopOptions = {},
): Promise<ProcessExit> {
  const { signal = 'SIGTERM', graceMs = DEFAULT_GRACE_MS, clock = systemClock } = options
  if (!isAlive(identity)) return takeExit(identity)
  if (graceMs > 0) {
    const ended = waitForExit(identity, poller, graceMs, clock)
    signalProcess(identity, signal)
    const exit = await ended
    if (exit !== undefined) return exit
  }
  return killProcess(identity, poller, { clock })
}

/**
 * Ends every process of the container with SIGKILL and returns how it ended.
 * Throws RuntimeError `RUNTIME_STOP_FAILED`.
 */
export async function killProcess(
  identity: ProcessIdentity,
  poller: Poller,
  options: Pick<StopOptions, 'clock'> = {},
): Promise<ProcessExit> {
  if (!isAlive(identity)) return takeExit(identity)
  const ended = waitForExit(identity, poller, KILL_TIMEOUT_MS, options.clock ?? systemClock)
  // The kernel takes the whole PID namespace down with its PID 1.
  sendSignal(identity.initPid, SIGKILL, () => isAlive(identity))
  const exit = await ended
  if (exit !== undefined) return exit
  throw new RuntimeError(
    'RUNTIME_STOP_FAILED',
    `Cannot stop "${identity.name}": a process of it (init ${identity.initPid}) is still there ` +
      `${KILL_TIMEOUT_MS / 1000} s after SIGKILL, waiting for the kernel; look for dead disks or mounts`,
  )
}

/**
 * Sends a signal to the container's command. Returns false where it has ended.
 * Throws RuntimeError `RUNTIME_BAD_SPECIFICATION` for an unknown signal.
 */
export function signalProcess(identity: ProcessIdentity, signal: string): boolean {
  const number = parseSignal(signal)
  if (number === undefined) {
    throw new RuntimeError(
      'RUNTIME_BAD_SPECIFICATION',
      `Cannot signal "${identity.name}": there is no signal "${signal}"`,
    )
  }
  if (!isAlive(identity)) return false
  const { initPid } = identity
  // Not known yet where the daemon that started it died before its app had told.
  const appPid = identity.appPid ?? readIdentity(identity.runDir)?.appPid
  // The init waits for the app and for nothing else: with the app gone, it is about to end too.
  if (appPid === undefined) return false
  return sendSignal(appPid, number, () => readParentPid(appPid) === initPid)
}

/** Through a pidfd, checked once it is open: the signal never reaches a reused pid. */
function sendSignal(pid: number, signal: number, isStillOurs: () => boolean): boolean {
  let fd: number | undefined
  try {
    fd = openPidfd(pid)
    if (!isStillOurs()) return false
    signalPidfd(fd, signal)
    return true
  } catch (error) {
    if (!isStillOurs() || errorCode(error) === 'ESRCH') return false
    throw error
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function waitForExit(
  identity: ProcessIdentity,
  poller: Poller,
  timeoutMs: number,
  clock: Clock,
): Promise<ProcessExit | undefined> {
  return new Promise(resolve => {
    const timer = clock.after(timeoutMs, () => {
      watch.stop()
      resolve(undefined)
    })
    const watch = watchProcess(identity, poller, exit => {
      timer.cancel()
      resolve(exit)
    })
  })
}
