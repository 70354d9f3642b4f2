/**
 * Holds a directory for one opener at a time. The lock is the kernel's (flock(2) on a file in it), so
 * it ends with the process however that dies; the file stays, and names the last holder.
 */

import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import koffi from 'koffi'
import { StoreError } from './error.js'

/** Beside the data; holds the process id of whoever holds, or last held, the directory. */
const LOCK_FILE = 'owner.lock'

/** sys/file.h */
const LOCK_EX = 2
const LOCK_NB = 4

const flock = koffi.load('libc.so.6').func('int flock(int fd, int operation)')

export interface DirectoryLock {
  release(): void
}

/** Takes the lock of `directory`, which exists. Throws StoreError `STORE_LOCKED`, or Node's error. */
export function lockDirectory(directory: string): DirectoryLock {
  const path = join(directory, LOCK_FILE)
  // Node opens with O_CLOEXEC: no child inherits the lock.
  const fd = openSync(path, 'a+', 0o600)
  if (flock(fd, LOCK_EX | LOCK_NB) !== 0) {
    closeSync(fd)
    const pid = readFileSync(path, 'utf8').trim()
    const holder = pid === '' ? 'another process' : `process ${pid}`
    throw new StoreError(
      'STORE_LOCKED',
      `Cannot open the store in "${directory}": ${holder} has it open; stop that daemon or choose ` +
        'another directory',
    )
  }
  ftruncateSync(fd)
  writeSync(fd, `${process.pid}\n`)
  return { release: () => closeSync(fd) }
}
