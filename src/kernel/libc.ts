/** The libc calls this folder needs and Node lacks, through koffi. Every call acts on the calling thread. */
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'
import { KernelError } from './error.js'
const library = koffi.load('libc.so.6')

export interface Libc {
  setns(fd: number, kind: number): number
  unshare(flags: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: Buffer, length: number): number
  listen(fd: number, backlog: number): number
  getsockname(fd: number, address: Buffer, length: number[]): number
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number
  send(fd: number, data: Buffer, length: number, flags: number): number
  /** As `send`, on a thread of the pool; `data` must stay as it is meanwhile. */
  sendAside(fd: number, data: Buffer, length: number, flags: number): Promise<number>
  recvfrom(
    fd: number,
    data: Buffer,
    length: number,
    flags: number,
    address: Buffer,
    addressLength: number[],
  ): number
  pthread_sigmask(how: number, set: Buffer, old: Buffer): number
  syscall(number: number, a: number, b: number, c: number, d: number): number
  mount(source: string, target: string, kind: null, flags: number, data: null): number
  umount2(target: string, flags: number): number
}

const send = library.func('int64_t send(int fd, void *data, size_t length, int flags)')

export const libc: Libc = {
  setns: library.func('int setns(int fd, int kind)'),
  unshare: library.func('int unshare(int flags)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, void *address, uint32_t length)'),
  listen: library.func('int listen(int fd, int backlog)'),
  getsockname: library.func('int getsockname(int fd, void *address, _Inout_ uint32_t *length)'),
  setsockopt: library.func(
    'int setsockopt(int fd, int level, int name, void *value, uint32_t length)',
  ),
  send,
  sendAside: (fd, data, length, flags) =>
    new Promise((resolve, reject) => {
      const done = (error: Error | null, result: number): void =>
        error === null ? resolve(result) : reject(error)
      send.async(fd, data, length, flags, done)
    }),
  recvfrom: library.func(
    'int64_t recvfrom(int fd, void *data, size_t length, int flags, void *address, _Inout_ uint32_t *addressLength)',
  ),
  pthread_sigmask: library.func('int pthread_sigmask(int how, void *set, void *old)'),
  syscall: library.func('long syscall(long number, long a, long b, long c, long d)'),
  mount: library.func(
    'int mount(const char *source, const char *target, const char *kind, unsigned long flags, void *data)',
  ),
  umount2: library.func('int umount2(const char *target, int flags)'),
}

/** The name of an errno, `EEXIST`. */
export function errnoName(errno: number): string {
  return errno === 0 ? 'OK' : getSystemErrorName(-errno)
}

/** The result of a call, or a KernelError that says what was attempted. */
export function check(result: number, attempt: string): number {
  if (result >= 0) return result
  const code = errnoName(koffi.errno())
  const advice = code === 'EPERM' || code === 'EACCES' ? '; run it as root' : ''
  throw new KernelError(code, `Cannot ${attempt}: the kernel says ${code}${advice}`)
}
