/**
 * Says when a file descriptor can be read: one epoll for all of a process.
 *
 * The epoll is Node's own (`uv_poll_t`, through koffi), so a wake-up costs no thread hop and no
 * thread of the libuv pool is held. An `epoll_wait` on a pool thread was measured beside it: see
 * `benchmarks/README.md`. It knows nothing of what is behind a descriptor: sockets, pidfds and
 * netlink sockets all do.
 */

import { CodedError, errorMessage } from '../../src/base/error.js'
import { loadLibc } from './libc.js'
import type { Libc, PollHandle } from './libc.js'

export class PollerError extends CodedError<
  'POLLER_UNAVAILABLE' | 'POLLER_CLOSED' | 'POLLER_FD_IN_USE' | 'POLLER_BAD_FD'
> {}

/**
 * Calls back on the main thread while a descriptor can be read (level triggered: what is not read
 * is told again). A poller with descriptors keeps the process alive, an empty one does not.
 */
export interface Poller {
  /**
   * Starts watching. The descriptor is made non-blocking and stays the caller's, who must not
   * hand it to node:net or node:dgram too, and must `remove` it before closing it. What `onReadable` throws goes to `onError`, and watching goes on. A socket's
   * pending error calls `onReadable` too: the read there returns and clears it.
   * Throws PollerError `POLLER_CLOSED`, `POLLER_FD_IN_USE`, `POLLER_BAD_FD`.
   */
  add(fd: number, onReadable: () => void): void
  /** Stops watching at once: `onReadable` is not called again. Unknown descriptors are ignored. */
  remove(fd: number): void
  /** Stops watching everything. */
  close(): Promise<void>
}

/** Opens a poller. Throws PollerError `POLLER_UNAVAILABLE` where koffi cannot load. */
export function openPoller(onError: (error: unknown, fd: number) => void = reportError): Poller {
  const libc = loadLibc()
  if (typeof libc === 'string') {
    throw new PollerError('POLLER_UNAVAILABLE', `Cannot watch file descriptors: ${libc}`)
  }
  return new UvPoller(libc, onError)
}

interface Watch {
  readonly onReadable: () => void
  handle: PollHandle | undefined
}

class UvPoller implements Poller {
  readonly #libc: Libc
  readonly #onError: (error: unknown, fd: number) => void
  readonly #watches = new Map<number, Watch>()
  #isClosed = false
  #isTurnScheduled = false

  constructor(libc: Libc, onError: (error: unknown, fd: number) => void) {
    this.#libc = libc
    this.#onError = onError
  }

  add(fd: number, onReadable: () => void): void {
    if (this.#isClosed) {
      throw new PollerError('POLLER_CLOSED', `Cannot watch descriptor ${fd}: the poller is closed`)
    }
    if (this.#watches.has(fd)) {
      throw new PollerError('POLLER_FD_IN_USE', `Descriptor ${fd} is being watched already`)
    }
    const watch: Watch = { onReadable, handle: undefined }
    this.#start(fd, watch)
    this.#watches.set(fd, watch)
  }

  remove(fd: number): void {
    const watch = this.#watches.get(fd)
    if (watch === undefined) return
    this.#watches.delete(fd)
    watch.handle?.close()
  }

  close(): Promise<void> {
    this.#isClosed = true
    for (const fd of [...this.#watches.keys()]) this.remove(fd)
    return Promise.resolve()
  }

  #start(fd: number, watch: Watch): void {
    if (!this.#libc.canPoll(fd)) {
      throw new PollerError(
        'POLLER_BAD_FD',
        `Cannot watch descriptor ${fd}: it must be an open socket, pidfd or other pollable file`,
      )
    }
    watch.handle = this.#libc.poll(fd, status => this.#wake(fd, watch, status))
  }

  #wake(fd: number, watch: Watch, status: number): void {
    if (this.#watches.get(fd) !== watch) return
    this.#runCallback(fd, watch)
    if (status < 0) this.#restart(fd, watch)
    this.#scheduleTurn()
  }

  #runCallback(fd: number, watch: Watch): void {
    try {
      watch.onReadable()
    } catch (error) {
      try {
        this.#onError(error, fd)
      } catch (failure) {
        reportError(failure)
      }
    }
  }

  /** libuv stops a poll handle for good on POLLERR, such as a netlink socket's ENOBUFS. */
  #restart(fd: number, watch: Watch): void {
    watch.handle?.close()
    watch.handle = undefined
    // Not at once: an error that nobody clears must not take the whole loop.
    setImmediate(() => {
      if (this.#watches.get(fd) !== watch) return
      try {
        this.#start(fd, watch)
      } catch (error) {
        this.#watches.delete(fd)
        this.#onError(error, fd)
      }
    })
  }

  /**
   * koffi calls back outside of Node's callback scope, so ticks and promises that `onReadable`
   * queued would wait for the next unrelated event. An immediate runs them in this turn.
   */
  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return
    this.#isTurnScheduled = true
    setImmediate(this.#endTurn)
  }

  readonly #endTurn = (): void => {
    this.#isTurnScheduled = false
  }
}

function reportError(error: unknown): void {
  process.emitWarning(`A descriptor's callback failed: ${errorMessage(error)}`)
}
