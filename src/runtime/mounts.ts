/**
 * The container's view of the host's file system: its own /etc files, /proc and /sys. Runs inside
 * the container's mount namespace (see namespaces.ts); the host sees none of it.
 */

import { closeSync, mkdirSync, openSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { errorCode, errorMessage } from '../base/error.js'
import { RuntimeError } from './error.js'
import { errnoName, libc } from './libc.js'

/** Files of the run directory, by what they stand in for. Absent: the host's own is seen. */
export interface ContainerFiles {
  readonly resolvConf?: string
  readonly hosts?: string
  readonly hostname?: string
}

/** Linux: include/uapi/linux/mount.h. */
const MS_RDONLY = 0x1
const MS_NOSUID = 0x2
const MS_NODEV = 0x4
const MS_NOEXEC = 0x8
const MS_BIND = 0x1000
const MS_REC = 0x4000
const MS_SLAVE = 0x8_0000
const O_PATH = 0x20_0000
/** Hops of a symbolic link that leads nowhere (the kernel's MAXSYMLINKS). */
const MAX_LINKS = 40

const TARGETS: readonly (readonly [keyof ContainerFiles, string])[] = [
  ['resolvConf', '/etc/resolv.conf'],
  ['hosts', '/etc/hosts'],
  ['hostname', '/etc/hostname'],
]

/**
 * Keeps our mounts from the host while the host's own unmounts still reach us: a private copy would
 * keep every disk of the host busy for as long as a container runs.
 */
export function isolateMounts(): void {
  const result = libc().mount(null, '/', null, MS_REC | MS_SLAVE, null)
  if (result !== 0) throw setupFailed('isolate mounts', '/')
}

/** Puts `files` over the host's. Throws RuntimeError `RUNTIME_SETUP_FAILED`. */
export function bindFiles(files: ContainerFiles): void {
  for (const [kind, path] of TARGETS) {
    const source = files[kind]
    const target = source === undefined ? undefined : mountPoint(path)
    if (source === undefined || target === undefined) continue
    if (libc().mount(source, target, null, MS_BIND, null) !== 0) throw setupFailed('mount', target)
  }
}

/** Those of `files` that are not seen: a rename over the file on the host takes our mount away. */
export function missingFiles(files: ContainerFiles): (keyof ContainerFiles)[] {
  return TARGETS.flatMap(([kind, path]) => {
    const source = files[kind]
    return source === undefined || isSameFile(source, path) ? [] : [kind]
  })
}

/**
 * A /sys of the calling network namespace, read only as Docker's is, with the host's control groups
 * put back. Where the kernel refuses, the host's stays: /sys/class/net is a convenience.
 */
export function mountSys(): void {
  const groups = openOptional('/sys/fs/cgroup')
  const flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
  const isMounted = libc().mount('sysfs', '/sys', 'sysfs', flags, null) === 0
  if (groups === undefined) return
  const source = `/proc/thread-self/fd/${groups}`
  if (isMounted) libc().mount(source, '/sys/fs/cgroup', null, MS_BIND | MS_REC, null)
  closeSync(groups)
}

/**
 * A /proc of the PID namespace of `initPid`, whose own /proc is still the host's. False where the
 * kernel (before 6.17) lets only a process inside that namespace mount it.
 */
export function mountProc(initPid: number): boolean {
  const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
  const data = `pidns=/proc/${initPid}/ns/pid`
  return libc().mount('proc', '/proc', 'proc', flags, data) === 0
}

/**
 * What is mounted over for `path`: the end of its symbolic links (systemd's resolv.conf is one). A
 * missing /etc/hostname needs no file, programs ask the kernel; the others are made empty on the
 * host, where an empty file means what a missing one does.
 */
function mountPoint(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
  if (path === '/etc/hostname') return undefined
  const target = followLinks(path)
  try {
    mkdirSync(dirname(target), { recursive: true })
    closeSync(openSync(target, 'a', 0o644))
    return target
  } catch (error) {
    throw new RuntimeError(
      'RUNTIME_SETUP_FAILED',
      `Cannot give the container its ${path}: the host has no file "${target}" to mount over ` +
        `and it cannot be made (${errorMessage(error)}); create an empty one`,
      { cause: error },
    )
  }
}

function followLinks(path: string): string {
  let target = path
  for (let hop = 0; hop < MAX_LINKS; hop++) {
    try {
      target = resolve(dirname(target), readlinkSync(target))
    } catch {
      return target
    }
  }
  return target
}

function isSameFile(one: string, other: string): boolean {
  const first = statSync(one, { throwIfNoEntry: false })
  const second = statSync(other, { throwIfNoEntry: false })
  return first?.ino === second?.ino && first?.dev === second?.dev
}

function openOptional(path: string): number | undefined {
  try {
    return openSync(path, O_PATH)
  } catch {
    return undefined
  }
}

function setupFailed(act: string, path: string): RuntimeError {
  const reason = errnoName(libc().errno())
  return new RuntimeError('RUNTIME_SETUP_FAILED', `Cannot ${act} "${path}": ${reason}`)
}
