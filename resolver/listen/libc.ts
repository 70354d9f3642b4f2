/**
 * The few libc calls that the batched listener needs, through koffi. Linux on 64-bit little-endian
 * machines only; elsewhere, and where koffi cannot load, `loadLibc` says why and the portable
 * listener serves.
 */

import { createRequire } from 'node:module'
import { endianness } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { errorMessage } from '../../src/base/error.js'

type Koffi = typeof import('koffi')

/** What a poll handle is to us: koffi's door to `uv_poll_t`, in Node's own event loop. */
export interface PollHandle {
  close(): void
}

/** Numbers are file descriptors, lengths and flags; an `Address` is a pointer as a number. */
export interface Libc {
  /** False for what epoll refuses: descriptors that are not open, plain files. */
  canPoll(fd: number): boolean
  /**
   * Watches `fd` in Node's event loop, level triggered. `status` is negative after POLLERR. Ask
   * `canPoll` first: koffi 3.3.4 ends the process where libuv refuses a descriptor.
   */
  poll(fd: number, callback: (status: number) => void): PollHandle
  /** Where a Buffer's bytes are. Only for blocks outside V8's heap, which never move. */
  addressOf(block: Buffer): bigint
  /** The errno of the last call that failed; `errnoName` is its name, such as `EADDRINUSE`. */
  errno(): number
  errnoName(): string
  recvmmsg(fd: number, headers: number, count: number, flags: number, timeout: number): number
  sendmmsg(fd: number, headers: number, count: number, flags: number): number
  sendto(
    fd: number,
    bytes: Buffer,
    length: number,
    flags: number,
    peer: Buffer,
    peerLength: number,
  ): number
  setsockopt(fd: number, level: number, option: number, value: Int32Array, length: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: Buffer, length: number): number
  connect(fd: number, address: Buffer, length: number): number
  getsockname(fd: number, address: Buffer, length: Uint32Array): number
  close(fd: number): number
}

export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000
export const EINTR = 4
export const EAGAIN = 11
export const ENOBUFS = 105

let loaded: Libc | string | undefined

/** The calls, or one sentence that says why they cannot be had here. Loads once. */
export function loadLibc(): Libc | string {
  loaded ??= load()
  return loaded
}

function load(): Libc | string {
  if (process.platform !== 'linux') return `recvmmsg is a Linux call, this is ${process.platform}`
  if (!['x64', 'arm64', 'riscv64'].includes(process.arch) || endianness() !== 'LE') {
    return `The message layout is written for 64-bit little-endian machines, not ${process.arch}`
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi
    return bindAll(koffi)
  } catch (error) {
    return `koffi cannot load here: ${errorMessage(error)}`
  }
}

function bindAll(koffi: Koffi): Libc {
  const c = koffi.load(null)
  const epoll: Epoll = {
    create: c.func('int epoll_create1(int)'),
    control: c.func('int epoll_ctl(int, int, int, void *)'),
    close: c.func('int close(int)'),
  }
  return {
    canPoll: fd => canPoll(epoll, fd),
    poll: (fd, callback) => {
      // koffi hands the status first, which its typings leave out.
      const call = (status: unknown): void => callback(typeof status === 'number' ? status : 0)
      return koffi.node.poll(fd, { readable: true }, call)
    },
    addressOf: block => koffi.address(block),
    errno: () => koffi.errno(),
    errnoName: () => getSystemErrorName(-koffi.errno()),
    // Pointers into the preallocated block go as plain numbers: no argument is converted.
    recvmmsg: c.func('int recvmmsg(int, int64_t, unsigned int, int, int64_t)'),
    sendmmsg: c.func('int sendmmsg(int, int64_t, unsigned int, int)'),
    sendto: c.func('int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)'),
    setsockopt: c.func('int setsockopt(int, int, int, const int32_t *, uint32_t)'),
    socket: c.func('int socket(int, int, int)'),
    bind: c.func('int bind(int, const void *, uint32_t)'),
    connect: c.func('int connect(int, const void *, uint32_t)'),
    getsockname: c.func('int getsockname(int, void *, _Inout_ uint32_t *)'),
    close: c.func('int close(int)'),
  }
}

interface Epoll {
  create(flags: number): number
  control(epollFd: number, operation: number, fd: number, event: Buffer): number
  close(fd: number): number
}

function canPoll(epoll: Epoll, fd: number): boolean {
  const EPOLL_CLOEXEC = 0o2000000
  const EPOLL_CTL_ADD = 1
  const epollFd = epoll.create(EPOLL_CLOEXEC)
  const isTaken = epoll.control(epollFd, EPOLL_CTL_ADD, fd, Buffer.alloc(16)) === 0
  epoll.close(epollFd)
  return isTaken
}
