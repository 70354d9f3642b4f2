/**
 * Network namespaces: made, opened, and entered for the length of one synchronous call.
 *
 * Only the main thread moves, and only while `body` runs, so that a socket, a child process or a
 * netlink request is made there. A namespace lives while a descriptor or a process holds it.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { errorCode } from '../base/error.js'
import { KernelError } from './error.js'
import { check, libc } from './libc.js'
import { setLoopbackUp } from './rtnetlink.js'

export interface Netns {
  readonly fd: number
  /** `dev:inode`. */
  readonly id: string
}

/** Linux: include/uapi/linux/sched.h. */
const CLONE_NEWNET = 0x4000_0000
/** A fresh namespace with its loopback up, held by the descriptor. */
export function createNetns(): Netns {
  const enter = (): number => check(libc.unshare(CLONE_NEWNET), 'make a network namespace')
  return away(enter, () => {
    setLoopbackUp()
    return identify(openSync('/proc/thread-self/ns/net', constants.O_RDONLY))
  })
}

/** The namespace of a path such as `/proc/PID/ns/net`. Throws KernelError with the errno as code. */
export function openNetns(path: string): Netns {
  try {
    return identify(openSync(path, constants.O_RDONLY))
  } catch (cause) {
    const code = errorCode(cause) ?? 'EINVAL'
    throw new KernelError(code, `Cannot open the network namespace ${path}: ${code}`, { cause })
  }
}

/** Lets go of it; it ends when nobody else holds it. */
export function closeNetns(netns: Netns): void {
  closeSync(netns.fd)
}

/**
 * Runs `body`, which must be synchronous, with the main thread in `netns`, and comes home whatever it
 * did. Aborts the process if the way home fails: anything after it would act on the wrong host.
 */
export function runInNetns<T>(netns: Netns, body: () => T): T {
  return away(() => check(libc.setns(netns.fd, CLONE_NEWNET), 'enter a network namespace'), body)
}

function away<T>(enter: () => void, body: () => T): T {
  // Looked up each time: where calls are nested, home is the outer namespace.
  const back = openSync('/proc/thread-self/ns/net', constants.O_RDONLY)
  try {
    enter()
  } catch (error) {
    // Still at home, where one without rights cannot even go.
    closeSync(back)
    throw error
  }
  try {
    return body()
  } finally {
    if (libc.setns(back, CLONE_NEWNET) !== 0) {
      writeSync(2, 'portolan: cannot return from a network namespace\n')
      process.abort()
    }
    closeSync(back)
  }
}

function identify(fd: number): Netns {
  const { dev, ino } = fstatSync(fd)
  return { fd, id: `${dev}:${ino}` }
}
