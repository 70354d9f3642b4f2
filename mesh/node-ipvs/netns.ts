/** Enters a network namespace for the length of one synchronous call, on the calling thread. */
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { IpvsError } from './error.js'
import { check, libc } from './libc.js'

/** Linux: include/uapi/linux/sched.h. */
const CLONE_NEWNET = 0x4000_0000
const OWN = '/proc/thread-self/ns/net'

/**
 * Runs `body`, which must be synchronous, in the namespace of a path (`/run/netns/x`,
 * `/proc/PID/ns/net`) or descriptor. Aborts the process if the way home fails: whatever came after
 * would act on the wrong host.
 */
export function runInNetns<T>(netns: string | number, body: () => T): T {
  const away = typeof netns === 'string' ? openFile(netns) : netns
  try {
    return runAway(away, body)
  } finally {
    if (typeof netns === 'string') closeSync(away)
  }
}

function runAway<T>(away: number, body: () => T): T {
  const home = openFile(OWN)
  try {
    check(libc.setns(away, CLONE_NEWNET), 'enter a network namespace')
    return body()
  } finally {
    if (libc.setns(home, CLONE_NEWNET) !== 0) {
      writeSync(2, 'node-ipvs: cannot return from a network namespace\n')
      process.abort()
    }
    closeSync(home)
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY)
  } catch (cause) {
    const name = cause instanceof Error && 'code' in cause ? String(cause.code) : 'EIO'
    const code = `E${name.replace(/^E/, '')}` as const
    const sentence = `Cannot open the network namespace ${path}: the kernel says ${code}`
    throw new IpvsError(code, sentence, { command: 'open network namespace', what: path, cause })
  }
}
