/**
 * Tells watchers what their sockets are ready for: an epoll of its own inside Node's event loop, so
 * that hundreds of sockets are asked about with one call and none costs a handle of libuv.
 */

import { errorMessage } from '../../../src/base/error.js'
import { KernelError } from '../../../src/kernel/error.js'
import { errnoName } from '../../../src/kernel/libc.js'
import { BLOCK_BYTES, Block, EVENT, EVENTS, EVENT_COUNT } from './block.js'
import { calls, errno, poll } from './libc.js'

/** include/uapi/linux/eventpoll.h. */
export const EPOLLIN = 0x1
export const EPOLLPRI = 0x2
export const EPOLLOUT = 0x4
export const EPOLLERR = 0x8
export const EPOLLHUP = 0x10
export const EPOLLRDHUP = 0x2000
export const EPOLLET = 0x8000_0000
const EPOLL_CLOEXEC = 0o2000000
const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2

/** struct epoll_event is packed on x86-64 alone. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16
const EVENT_FD = process.arch === 'x64' ? 4 : 8

/** Batches in one turn of Node's loop: whoever else runs in this process gets its turn. */
const BATCHES_A_TURN = 4

export interface Watcher {
  /** Bits of EPOLLIN and so on. */
  onEvents(events: number): void
}

/** Keeps the process alive while it watches something. */
export class Reactor {
  /** For calls of the moment; shared by everything on this reactor. */
  readonly block = new Block(BLOCK_BYTES)
  readonly #watchers = new Map<number, Watcher>()
  readonly #onError: (error: unknown) => void
  #epollFd = -1
  #handle: { close(): void } | undefined
  #isInTurn = false
  #isTurnDue = false
  /** Closed when the turn is over: a number given anew would get the events of the old socket. */
  #dead: number[] = []
  #later: (() => void)[] = []

  constructor(onError: (error: unknown) => void = warn) {
    this.#onError = onError
  }

  /** Throws KernelError where the kernel does not take `fd`. */
  watch(fd: number, events: number, watcher: Watcher): void {
    if (this.#handle === undefined) this.#start()
    const { bytes, address } = this.block
    bytes.writeUInt32LE(events >>> 0, EVENT)
    bytes.writeInt32LE(fd, EVENT + EVENT_FD)
    if (calls.epoll_ctl(this.#epollFd, EPOLL_CTL_ADD, fd, address + EVENT) !== 0) {
      const code = errnoName(errno())
      if (this.#watchers.size === 0) this.#stop()
      throw new KernelError(code, `Cannot watch a socket: the kernel says ${code}`)
    }
    this.#watchers.set(fd, watcher)
  }

  /** No events from now on; `fd` stays open. */
  forget(fd: number): void {
    if (!this.#watchers.delete(fd)) return
    calls.epoll_ctl(this.#epollFd, EPOLL_CTL_DEL, fd, this.block.address + EVENT)
    if (this.#watchers.size === 0 && !this.#isInTurn) this.#stop()
  }

  /** Forgets `fd` and closes it. */
  close(fd: number): void {
    if (!this.#isInTurn) {
      this.forget(fd)
      calls.close(fd)
      return
    }
    this.#watchers.delete(fd)
    this.#dead.push(fd)
  }

  /** Runs `body` in the next turn: for whoever has used its share of this one. */
  later(body: () => void): void {
    this.#later.push(body)
    this.#dueTurn()
  }

  #start(): void {
    this.#epollFd = calls.epoll_create1(EPOLL_CLOEXEC)
    if (this.#epollFd < 0) {
      const code = errnoName(errno())
      throw new KernelError(code, `Cannot make an epoll: the kernel says ${code}`)
    }
    this.#handle = poll(this.#epollFd, this.#turn)
  }

  #stop(): void {
    this.#handle?.close()
    this.#handle = undefined
    calls.close(this.#epollFd)
    this.#epollFd = -1
  }

  readonly #turn = (): void => {
    this.#isTurnDue = false
    this.#isInTurn = true
    const later = this.#later
    this.#later = []
    for (const body of later) {
      try {
        body()
      } catch (error) {
        this.#onError(error)
      }
    }
    if (this.#handle !== undefined) this.#dispatch()
    this.#isInTurn = false
    for (const fd of this.#dead) calls.close(fd)
    this.#dead = []
    if (this.#watchers.size === 0 && this.#handle !== undefined) this.#stop()
    // koffi calls back outside of Node's callback scope: without an immediate, promises that a
    // watcher resolved would wait for the next unrelated event.
    this.#dueTurn()
  }

  #dueTurn(): void {
    if (this.#isTurnDue) return
    this.#isTurnDue = true
    setImmediate(() => {
      if (this.#later.length > 0) this.#turn()
      else this.#isTurnDue = false
    })
  }

  #dispatch(): void {
    const { bytes, address } = this.block
    for (let batch = 0; batch < BATCHES_A_TURN; batch++) {
      const count = calls.epoll_wait(this.#epollFd, address + EVENTS, EVENT_COUNT, 0)
      for (let i = 0; i < count; i++) {
        const at = EVENTS + i * EVENT_BYTES
        const watcher = this.#watchers.get(bytes.readInt32LE(at + EVENT_FD))
        if (watcher === undefined) continue
        try {
          watcher.onEvents(bytes.readUInt32LE(at))
        } catch (error) {
          // It must not reach koffi, and takes nobody else's events with it.
          this.#onError(error)
        }
      }
      if (count < EVENT_COUNT) return
    }
  }
}

function warn(error: unknown): void {
  process.emitWarning(`A proxied socket failed: ${errorMessage(error)}`)
}
