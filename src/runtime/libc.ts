/**
 * The libc calls this folder needs and Node lacks, through koffi: namespaces, mounts, `posix_spawn`
 * and `waitpid`. Nothing is decided here. Every call acts on the calling thread.
 */

import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'
import { errorMessage } from '../base/error.js'
import { RuntimeError } from './error.js'

type Koffi = typeof import('koffi')

/** Calls return 0 or a number that is not negative, -1 with `errno` set where they fail. */
export interface Libc {
  errno(): number
  unshare(flags: number): number
  setns(fd: number, kind: number): number
  mount(
    source: string | null,
    target: string,
    type: string | null,
    flags: number,
    data: string | null,
  ): number
  sethostname(name: string, bytes: number): number
  setdomainname(name: string, bytes: number): number
  fchdir(fd: number): number
  chdir(path: string): number
  chroot(path: string): number
  socketpair(domain: number, type: number, protocol: number, fds: number[]): number
  pipe2(fds: number[], flags: number): number
  waitpid(pid: number, status: number[], options: number): number
  /** posix_spawn and its actions return an error number and leave `errno` alone. */
  spawn(
    pid: number[],
    path: string,
    actions: Buffer,
    attributes: Buffer,
    argv: readonly (string | null)[],
    env: readonly (string | null)[],
  ): number
  actionsInit(actions: Buffer): number
  actionsDestroy(actions: Buffer): number
  actionsDup2(actions: Buffer, fd: number, newFd: number): number
  /** glibc 2.34; elsewhere absent, and close-on-exec alone keeps descriptors from the child. */
  readonly actionsCloseFrom: ((actions: Buffer, from: number) => number) | undefined
  attributesInit(attributes: Buffer): number
  attributesFlags(attributes: Buffer, flags: number): number
  attributesMask(attributes: Buffer, signals: Buffer): number
  attributesDefault(attributes: Buffer, signals: Buffer): number
}

let loaded: Libc | undefined

/** The calls; loads once. Throws RuntimeError `RUNTIME_UNSUPPORTED` where there is no koffi. */
export function libc(): Libc {
  loaded ??= load()
  return loaded
}

/** The name of an error number: `EPERM`. */
export function errnoName(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : 'no error'
}

function load(): Libc {
  if (process.platform !== 'linux') {
    throw new RuntimeError(
      'RUNTIME_UNSUPPORTED',
      `Cannot run containers on ${process.platform}: namespaces are a Linux feature`,
    )
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi
    return declare(koffi)
  } catch (error) {
    throw new RuntimeError(
      'RUNTIME_UNSUPPORTED',
      `Cannot reach libc through koffi: ${errorMessage(error)}`,
      { cause: error },
    )
  }
}

function declare(koffi: Koffi): Libc {
  const lib = koffi.load(null)
  const at = 'const char *'
  return {
    errno: () => koffi.errno(),
    unshare: lib.func('int unshare(int flags)'),
    setns: lib.func('int setns(int fd, int kind)'),
    mount: lib.func(
      `int mount(${at}source, ${at}target, ${at}type, unsigned long flags, ${at}data)`,
    ),
    sethostname: lib.func('int sethostname(const char *name, size_t bytes)'),
    setdomainname: lib.func('int setdomainname(const char *name, size_t bytes)'),
    fchdir: lib.func('int fchdir(int fd)'),
    chdir: lib.func('int chdir(const char *path)'),
    chroot: lib.func('int chroot(const char *path)'),
    socketpair: lib.func('int socketpair(int domain, int type, int protocol, _Out_ int *fds)'),
    pipe2: lib.func('int pipe2(_Out_ int *fds, int flags)'),
    waitpid: lib.func('int waitpid(int pid, _Out_ int *status, int options)'),
    spawn: lib.func(
      `int posix_spawn(_Out_ int *pid, ${at}path, void *fa, void *at, const char **argv, const char **envp)`,
    ),
    actionsInit: lib.func('int posix_spawn_file_actions_init(void *fa)'),
    actionsDestroy: lib.func('int posix_spawn_file_actions_destroy(void *fa)'),
    actionsDup2: lib.func('int posix_spawn_file_actions_adddup2(void *fa, int fd, int newFd)'),
    actionsCloseFrom: optional(() =>
      lib.func('int posix_spawn_file_actions_addclosefrom_np(void *fa, int from)'),
    ),
    attributesInit: lib.func('int posix_spawnattr_init(void *at)'),
    attributesFlags: lib.func('int posix_spawnattr_setflags(void *at, short flags)'),
    attributesMask: lib.func('int posix_spawnattr_setsigmask(void *at, void *set)'),
    attributesDefault: lib.func('int posix_spawnattr_setsigdefault(void *at, void *set)'),
  }
}

function optional<T>(find: () => T): T | undefined {
  try {
    return find()
  } catch {
    return undefined
  }
}
