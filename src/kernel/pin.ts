/**
 * Network namespaces held by a file, so that they outlive every process: the namespace's file of /proc,
 * bind-mounted over an empty one, as `ip netns add` does.
 *
 * The mount belongs to the mount namespace of the calling process. Below a shared mount, as /run is
 * under systemd, others see it come and go; who has a mount namespace of its own must not count on it
 * once that ended.
 */
import { closeSync, mkdirSync, openSync, rmSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { errorCode } from '../base/error.js'
import { ignoring } from './error.js'
import { check, libc } from './libc.js'
import { closeNetns, openNetns, type Netns } from './netns.js'

/** Linux: include/uapi/linux/mount.h, magic.h, include/linux/fs.h. */
const MS_BIND = 4096
const MNT_DETACH = 2
const NSFS_MAGIC = 0x6e73_6673
/** More mounts than anybody stacks by mistake. */
const MOST_MOUNTS = 16

/** The namespace held at `path`; undefined where there is none, or a file that was left without. */
export function openPinned(path: string): Netns | undefined {
  return isPinned(path) ? openNetns(path) : undefined
}

/** Holds `netns` at `path`, in place of whatever is there. Throws KernelError. */
export function pinNetns(netns: Netns, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  unpinNetns(path)
  closeSync(openSync(path, 'wx', 0o400))
  const result = libc.mount(`/proc/self/fd/${netns.fd}`, path, null, MS_BIND, null)
  check(result, `hold a network namespace at ${path}`)
}

/** Whether `path` holds `netns` and no other. */
export function isPinnedTo(netns: Netns, path: string): boolean {
  const held = openPinned(path)
  if (held === undefined) return false
  closeNetns(held)
  return held.id === netns.id
}

/** Lets go of what is held at `path`, which ends unless somebody else holds it. Nothing there is no error. */
export function unpinNetns(path: string): void {
  for (let i = 0; i < MOST_MOUNTS && isPinned(path); i++) {
    ignoring('EINVAL', () => check(libc.umount2(path, MNT_DETACH), `let go of ${path}`))
  }
  rmSync(path, { force: true })
}

function isPinned(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
}
