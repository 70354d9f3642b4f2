/** Notices at once that a container has ended, whichever daemon started it. */

import { closeSync } from 'node:fs'
import { openPidfd } from '../kernel/pidfd.js'
import { isAlive, readExit, readParentPid } from './identity.js'
import type { ProcessIdentity } from '../catalog/container.js'
import type { ProcessExit } from './identity.js'
import { reapChild } from './spawn.js'

/** What this folder needs of the process's poller. */
export interface Poller {
  add(fd: number, onReadable: () => void): void
  remove(fd: number): void
}

/** A pending watch. `stop` after the exit was told does nothing. */
export interface ProcessWatch {
  stop(): void
}

/**
 * Calls `onExit` once, never before it returns, when the container of `identity` has ended: all of
 * its processes are gone then. One that has ended already is told at once.
 */
export function watchProcess(
  identity: ProcessIdentity,
  poller: Poller,
  onExit: (exit: ProcessExit) => void,
): ProcessWatch {
  let fd = openProcess(identity)
  const stop = (): void => {
    if (fd === undefined) return
    poller.remove(fd)
    closeSync(fd)
    fd = undefined
  }
  const tell = (): void => {
    stop()
    onExit(takeExit(identity))
  }
  if (fd !== undefined) {
    poller.add(fd, tell)
    return { stop }
  }
  const immediate = setImmediate(tell)
  return { stop: () => clearImmediate(immediate) }
}

/**
 * Calls `onEnd` once when the container's command has ended, a moment before its init has cleaned up
 * and the container itself ends. Never called for one that has ended already: `watchProcess` tells.
 */
export function watchCommand(
  identity: ProcessIdentity,
  poller: Poller,
  onEnd: () => void,
): ProcessWatch {
  let fd = openCommand(identity)
  const stop = (): void => {
    if (fd === undefined) return
    poller.remove(fd)
    closeSync(fd)
    fd = undefined
  }
  if (fd !== undefined) {
    poller.add(fd, () => {
      stop()
      onEnd()
    })
  }
  return { stop }
}

/** A pidfd of the command, or undefined where it has ended. */
function openCommand({ appPid, initPid }: ProcessIdentity): number | undefined {
  if (appPid === undefined) return undefined
  try {
    const fd = openPidfd(appPid)
    if (readParentPid(appPid) === initPid) return fd
    closeSync(fd)
  } catch {
    // Ended; the watch of the container tells the rest.
  }
  return undefined
}

/** How an ended container ended; reaps the init where it is our child. */
export function takeExit(identity: ProcessIdentity): ProcessExit {
  const code = reapChild(identity.initPid)
  const exit = readExit(identity.runDir)
  return exit.isRecorded || code === undefined ? exit : { ...exit, code }
}

/** A pidfd of the init, or undefined where it has ended. */
function openProcess(identity: ProcessIdentity): number | undefined {
  if (!isAlive(identity)) return undefined
  let fd: number
  try {
    fd = openPidfd(identity.initPid)
  } catch (error) {
    if (!isAlive(identity)) return undefined
    throw error
  }
  // The pid may have changed hands between the look and the open; from here on it cannot.
  if (isAlive(identity)) return fd
  closeSync(fd)
  return undefined
}
