/**
 * Makes sure that a commit finds room before it begins. LMDB cannot be left to find out: where a write
 * fails, liblmdb as patched by lmdb-js 3.5 (mdb.c, `last_error`) writes past the end of its message
 * buffer, and the process dies later of a broken heap.
 */

import { fstatSync, statfsSync } from 'node:fs'
import koffi from 'koffi'
import { readUsedBytes } from './lmdb-file.js'

/** linux/falloc.h: blocks are allocated, the size stays. */
const FALLOC_FL_KEEP_SIZE = 1

/** errno.h: the file system has no fallocate(2). */
const UNSUPPORTED = [95, 38]

/** Asked for at a time, so that few commits ask at all. */
const STEP_BYTES = 1024 * 1024

/** LMDB copies the page of a record and those above it, which neighbours share; adding splits them. */
const BYTES_PER_PUT = 3 * 4096
const BYTES_PER_REMOVAL = 4096

/** For the root, the list of free pages and the meta pages. */
const COMMIT_BYTES = 64 * 1024

/**
 * Kept back from commits that add something, so that some 250 records can still be removed when the
 * disk is full.
 */
const REMOVAL_BYTES = 1024 * 1024

const fallocate = koffi
  .load('libc.so.6')
  .func('int fallocate(int fd, int mode, int64_t offset, int64_t length)')

/** What a commit is about to write. */
export interface CommitSize {
  readonly writes: number
  readonly bytes: number
  readonly isRemovalOnly: boolean
}

/** The room reserved for one database file, open as `fd`. */
export class DiskRoom {
  readonly #fd: number
  readonly #directory: string
  #reservedBytes = 0

  constructor(fd: number, directory: string) {
    this.#fd = fd
    this.#directory = directory
  }

  /** True where a commit of `size` cannot fail for want of room. */
  reserve(size: CommitSize): boolean {
    const needed =
      readUsedBytes(this.#fd) +
      size.writes * (size.isRemovalOnly ? BYTES_PER_REMOVAL : BYTES_PER_PUT) +
      2 * size.bytes +
      COMMIT_BYTES +
      (size.isRemovalOnly ? 0 : REMOVAL_BYTES)
    if (needed <= this.#reservedBytes) return true
    return this.#allocate(Math.ceil(needed / STEP_BYTES) * STEP_BYTES) || this.#allocate(needed)
  }

  #allocate(length: number): boolean {
    if (fallocate(this.#fd, FALLOC_FL_KEEP_SIZE, 0, length) === 0) {
      this.#reservedBytes = length
      return true
    }
    if (!UNSUPPORTED.includes(koffi.errno())) return false
    const { bavail, bsize } = statfsSync(this.#directory)
    return bavail * bsize > length - fstatSync(this.#fd).size
  }
}
