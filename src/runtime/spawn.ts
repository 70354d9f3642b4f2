/**
 * Starts and reaps children without libuv's fork: `posix_spawn` borrows the memory of the process
 * instead of copying its page tables (0.15 ms whatever the size; fork takes 9 ms at 250 MB).
 * Such a child is not known to Node, so it is reaped here.
 */

import { errnoName, libc } from './libc.js'

export interface SpawnRequest {
  /** Absolute path of the program. */
  readonly path: string
  readonly argv: readonly string[]
  /** `NAME=value`, exactly what the child gets. */
  readonly env: readonly string[]
  /** The child's descriptors: index 0 is its standard input. All others are closed. */
  readonly fds: readonly number[]
}

export type SpawnResult =
  | { readonly kind: 'started'; readonly pid: number }
  | { readonly kind: 'failed'; readonly errno: string } // ENOENT, EACCES, ENOEXEC, ...

/** glibc and musl agree on these (spawn.h). */
const SET_SIGNAL_DEFAULTS = 0x04
const SET_SIGNAL_MASK = 0x08
const SET_SESSION = 0x80
/** Larger than posix_spawnattr_t and posix_spawn_file_actions_t of glibc (336, 80) and musl. */
const OPAQUE_BYTES = 1024
const SIGNAL_SET_BYTES = 128
const WNOHANG = 1

/**
 * Starts a program in a session of its own with no blocked or ignored signals, in the namespaces
 * and the working directory of the calling moment.
 */
export function spawnChild(request: SpawnRequest): SpawnResult {
  const c = libc()
  const actions = Buffer.alloc(OPAQUE_BYTES)
  const attributes = Buffer.alloc(OPAQUE_BYTES)
  c.actionsInit(actions)
  c.attributesInit(attributes)
  request.fds.forEach((fd, index) => c.actionsDup2(actions, fd, index))
  c.actionsCloseFrom?.(actions, request.fds.length)
  c.attributesFlags(attributes, SET_SIGNAL_DEFAULTS | SET_SIGNAL_MASK | SET_SESSION)
  c.attributesMask(attributes, Buffer.alloc(SIGNAL_SET_BYTES))
  c.attributesDefault(attributes, Buffer.alloc(SIGNAL_SET_BYTES, 0xff))
  const pid = [0]
  const argv = [...request.argv, null]
  const error = c.spawn(pid, request.path, actions, attributes, argv, [...request.env, null])
  c.actionsDestroy(actions)
  if (error !== 0) return { kind: 'failed', errno: errnoName(error) }
  return { kind: 'started', pid: pid[0] ?? 0 }
}

/**
 * Takes the exit code of a child that has ended: 128 + N for signal N, as a shell has it.
 * Undefined while it runs, and for a process that is not (or no longer) a child of ours.
 */
export function reapChild(pid: number): number | undefined {
  const status = [0]
  if (libc().waitpid(pid, status, WNOHANG) !== pid) return undefined
  const word = status[0] ?? 0
  const signal = word & 0x7f
  return signal === 0 ? (word >> 8) & 0xff : 128 + signal
}

const waiting = new Map<number, (code: number) => void>()
/** Keeps the process alive for the answer, which a signal handler does not. */
let keepAlive: NodeJS.Timeout | undefined
/** SIGCHLD tells at once; this looks again should another library have taken the signal. */
const LOOK_AGAIN_MS = 1_000

/** Calls `onExit` once when a child of `spawnChild` has ended, and reaps it. */
export function onChildExit(pid: number, onExit: (code: number) => void): void {
  if (waiting.size === 0) {
    process.on('SIGCHLD', reapWaiting)
    keepAlive = setInterval(reapWaiting, LOOK_AGAIN_MS)
  }
  waiting.set(pid, onExit)
  // It may have ended before the handler was there.
  setImmediate(reapWaiting)
}

function reapWaiting(): void {
  for (const [pid, onExit] of waiting) {
    const code = reapChild(pid)
    if (code === undefined) continue
    waiting.delete(pid)
    if (waiting.size === 0) {
      process.off('SIGCHLD', reapWaiting)
      clearInterval(keepAlive)
    }
    onExit(code)
  }
}
