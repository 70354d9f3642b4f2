/**
 * Takes the main thread into other namespaces for the length of one synchronous call, so that
 * mounts are made there by plain system calls and a child is born there. Saves the `unshare`,
 * `nsenter` and five `mount` processes a shell would need for each container.
 *
 * Entering a mount namespace gives the main thread its own working directory and umask (unshare(2),
 * CLONE_FS): a later `process.chdir` does not reach the threads of libuv's pool. Both are put back.
 */

import { closeSync, openSync, writeSync } from 'node:fs'
import { RuntimeError } from './error.js'
import { errnoName, libc } from './libc.js'

/** Linux: include/uapi/linux/sched.h. */
const CLONE_FS = 0x200
const NAMESPACE_FLAGS = {
  mnt: 0x0002_0000,
  uts: 0x0400_0000,
  pid: 0x2000_0000,
  net: 0x4000_0000,
} as const
/** Opens for use as a place only; Node has no constant for it (include/uapi/asm-generic/fcntl.h). */
const O_PATH = 0x20_0000

/** `pid` is the namespace of children: the thread itself never changes its own. */
export type NamespaceKind = keyof typeof NAMESPACE_FLAGS

export interface NamespaceChange {
  /** Namespaces made anew. */
  readonly fresh: readonly NamespaceKind[]
  /** Namespaces that exist, by descriptor: `/proc/PID/ns/KIND`, or one made by the kernel door. */
  readonly joined: readonly { readonly kind: NamespaceKind; readonly fd: number }[]
}

/**
 * Runs `body` with the main thread in other namespaces, then comes home whatever it did. `body`
 * must be synchronous. Aborts the process if the way home fails: nothing else would be safe.
 * Throws RuntimeError `RUNTIME_SETUP_FAILED`.
 */
export function runInNamespaces<T>(change: NamespaceChange, body: () => T): T {
  const home = openHome(change)
  try {
    // Joined before fresh: a fresh mount namespace must copy the one that was joined.
    for (const { kind, fd } of change.joined) {
      if (kind === 'mnt') check(libc().unshare(CLONE_FS), 'leave the shared working directory')
      check(libc().setns(fd, NAMESPACE_FLAGS[kind]), `enter the ${kind} namespace`)
    }
    const flags = change.fresh.reduce((sum, kind) => sum | NAMESPACE_FLAGS[kind], 0)
    if (flags !== 0) check(libc().unshare(flags), `create ${change.fresh.join(', ')} namespaces`)
    return body()
  } finally {
    goHome(home)
  }
}

interface Home {
  readonly namespaces: readonly { readonly kind: NamespaceKind; readonly fd: number }[]
  readonly root: number
  readonly directory: number
}

/** Opened before leaving: once away, /proc may be another one. */
function openHome({ fresh, joined }: NamespaceChange): Home {
  const kinds = new Set([...joined.map(({ kind }) => kind), ...fresh])
  const open = (kind: NamespaceKind): number =>
    openSync(`/proc/thread-self/ns/${kind === 'pid' ? 'pid_for_children' : kind}`, 'r')
  return {
    namespaces: [...kinds].map(kind => ({ kind, fd: open(kind) })),
    root: openSync('/', O_PATH),
    directory: openSync('.', O_PATH),
  }
}

function goHome({ namespaces, root, directory }: Home): void {
  const failed = namespaces.find(({ kind, fd }) => libc().setns(fd, NAMESPACE_FLAGS[kind]) !== 0)
  // setns(2) to a mount namespace moves root and working directory to its top.
  const isPlaced =
    !namespaces.some(({ kind }) => kind === 'mnt') ||
    (libc().fchdir(root) === 0 && libc().chroot('.') === 0 && libc().fchdir(directory) === 0)
  if (failed !== undefined || !isPlaced) {
    const reason = errnoName(libc().errno())
    writeSync(
      2,
      `portolan: cannot return from the ${failed?.kind ?? 'mnt'} namespace (${reason})\n`,
    )
    process.abort()
  }
  for (const { fd } of [...namespaces, { fd: root }, { fd: directory }]) closeSync(fd)
}

function check(result: number, purpose: string): void {
  if (result >= 0) return
  const reason = errnoName(libc().errno())
  throw new RuntimeError(
    'RUNTIME_SETUP_FAILED',
    `Cannot ${purpose}: the kernel says ${reason}` +
      (reason === 'EPERM' ? '; this needs CAP_SYS_ADMIN on the host' : ''),
  )
}
