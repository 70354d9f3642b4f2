/**
 * The system calls of the proxy, through koffi. `node:net` was measured beside them: it takes five
 * times the CPU for a connection, and cannot hold a port without accepting on it.
 *
 * Addresses of memory and lengths go as plain numbers, so no argument is converted. Every socket is
 * non-blocking: no call waits.
 */

import koffi from 'koffi'

type Poll = (fd: number, callback: () => void) => { close(): void }

interface Calls {
  epoll_create1(flags: number): number
  epoll_ctl(epollFd: number, operation: number, fd: number, event: number): number
  epoll_wait(epollFd: number, events: number, count: number, timeoutMs: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, name: number, length: number): number
  listen(fd: number, backlog: number): number
  accept4(fd: number, name: number, length: number, flags: number): number
  connect(fd: number, name: number, length: number): number
  getsockname(fd: number, name: number, length: number): number
  setsockopt(fd: number, level: number, option: number, value: number, length: number): number
  getsockopt(fd: number, level: number, option: number, value: number, length: number): number
  recv(fd: number, bytes: number, length: number, flags: number): number
  send(fd: number, bytes: number, length: number, flags: number): number
  recvmsg(fd: number, header: number, flags: number): number
  sendmsg(fd: number, header: number, flags: number): number
  shutdown(fd: number, how: number): number
  close(fd: number): number
}

// The process's own symbols: glibc and musl alike.
const library = koffi.load(null)

export const calls: Calls = {
  epoll_create1: library.func('int epoll_create1(int)'),
  epoll_ctl: library.func('int epoll_ctl(int, int, int, int64_t)'),
  epoll_wait: library.func('int epoll_wait(int, int64_t, int, int)'),
  socket: library.func('int socket(int, int, int)'),
  bind: library.func('int bind(int, int64_t, uint32_t)'),
  listen: library.func('int listen(int, int)'),
  accept4: library.func('int accept4(int, int64_t, int64_t, int)'),
  connect: library.func('int connect(int, int64_t, uint32_t)'),
  getsockname: library.func('int getsockname(int, int64_t, int64_t)'),
  setsockopt: library.func('int setsockopt(int, int, int, int64_t, uint32_t)'),
  getsockopt: library.func('int getsockopt(int, int, int, int64_t, int64_t)'),
  recv: library.func('int64_t recv(int, int64_t, size_t, int)'),
  send: library.func('int64_t send(int, int64_t, size_t, int)'),
  recvmsg: library.func('int64_t recvmsg(int, int64_t, int)'),
  sendmsg: library.func('int64_t sendmsg(int, int64_t, int)'),
  shutdown: library.func('int shutdown(int, int)'),
  close: library.func('int close(int)'),
}

/** Calls back in Node's event loop while `fd` can be read, until closed. Keep what it returns. */
export const poll: Poll = (fd, callback) => koffi.node.poll(fd, { readable: true }, callback)

/** The errno of the call that just failed. */
export const errno = (): number => koffi.errno()

/** Where a buffer outside V8's heap lies; user space is below 2^47. */
export const addressOf = (bytes: Buffer): number => Number(koffi.address(bytes))

/** include/uapi/asm-generic/errno-base.h, errno.h. */
export const EINTR = 4
export const EAGAIN = 11
export const ENFILE = 23
export const EMFILE = 24
export const EINPROGRESS = 115
