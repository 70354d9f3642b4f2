/**
 * A pipe between two sockets: bytes of a long transfer go through it by reference, so that none is
 * copied into this process (splice(2)). It takes a third less CPU for a byte than receiving and sending.
 */

import { VALUE } from './block.js'
import { calls } from './libc.js'
import type { Block } from './block.js'

const O_NONBLOCK_CLOEXEC = 0o2004000
const F_SETPIPE_SZ = 1031
const SPLICE_F_MOVE = 1
const SPLICE_F_NONBLOCK = 2

/** The most that the kernel gives without rights (fs.pipe-max-size); where it gives less, less goes at once. */
const PIPE_BYTES = 1_048_576

/** Pipes of the process, two descriptors each; transfers beyond that are copied. */
const MAX_PIPES = 128

const idle: SplicePipe[] = []
let count = 0

export class SplicePipe {
  /** Bytes in it. */
  length = 0
  readonly #readFd: number
  readonly #writeFd: number

  private constructor(readFd: number, writeFd: number) {
    this.#readFd = readFd
    this.#writeFd = writeFd
  }

  /** An empty one, or undefined where there are enough. */
  static take(block: Block): SplicePipe | undefined {
    const kept = idle.pop()
    if (kept !== undefined || count >= MAX_PIPES) return kept
    if (calls.pipe2(block.address + VALUE, O_NONBLOCK_CLOEXEC) !== 0) return undefined
    const pipe = new SplicePipe(block.bytes.readInt32LE(VALUE), block.bytes.readInt32LE(VALUE + 4))
    calls.fcntl(pipe.#writeFd, F_SETPIPE_SZ, PIPE_BYTES)
    count++
    return pipe
  }

  /** Moves what `fd` has into the empty pipe. As recv: 0 at the end, negative with an errno. */
  fill(fd: number): number {
    const flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK
    const moved = calls.splice(fd, 0, this.#writeFd, 0, PIPE_BYTES, flags)
    if (moved > 0) this.length = moved
    return moved
  }

  /** Moves what is in the pipe to `fd`. As send. */
  drain(fd: number): number {
    const flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK
    const moved = calls.splice(this.#readFd, 0, fd, 0, this.length, flags)
    if (moved > 0) this.length -= moved
    return moved
  }

  /** An empty one is kept for others, one with somebody's bytes is closed. */
  giveBack(): void {
    if (this.length === 0 && idle.length < MAX_PIPES / 4) {
      idle.push(this)
      return
    }
    calls.close(this.#readFd)
    calls.close(this.#writeFd)
    count--
  }
}
