/** The libc calls that Node lacks, through koffi. Each acts on the calling thread. */
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'
import { IpvsError, type IpvsErrorCode } from './error.js'

// The program itself rather than a file: glibc and musl name theirs differently.
const library = koffi.load(null)

export interface Libc {
  setns(fd: number, kind: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: Buffer, length: number): number
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number
  getsockopt(fd: number, level: number, name: number, value: Buffer, length: number[]): number
  send(fd: number, data: Buffer, length: number, flags: number): number
  recvfrom(
    fd: number,
    data: Buffer,
    length: number,
    flags: number,
    address: Buffer,
    addressLength: number[],
  ): number
}

export const libc: Libc = {
  setns: library.func('int setns(int fd, int kind)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, void *address, uint32_t length)'),
  setsockopt: library.func(
    'int setsockopt(int fd, int level, int name, void *value, uint32_t length)',
  ),
  getsockopt: library.func(
    'int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *length)',
  ),
  send: library.func('long send(int fd, void *data, size_t length, int flags)'),
  recvfrom: library.func(
    'long recvfrom(int fd, void *data, size_t length, int flags, void *address, _Inout_ uint32_t *addressLength)',
  ),
}

const EOPNOTSUPP = 95

/** Of a C long, of which struct timeval has two. */
export const LONG_BYTES = koffi.sizeof('long')

/** The errno of the call before, by name. */
export function lastErrno(): IpvsErrorCode {
  return errnoName(koffi.errno())
}

/** `EEXIST`. Numbers that Node has no name for become `E524`. */
export function errnoName(errno: number): IpvsErrorCode {
  // Node calls it ENOTSUP, which Linux has as another word for the same.
  if (errno === EOPNOTSUPP) return 'EOPNOTSUPP'
  try {
    const name = getSystemErrorName(-errno)
    return name.startsWith('E') ? `E${name.slice(1)}` : `E${errno}`
  } catch {
    return `E${errno}`
  }
}

/** The result of a call, or an IpvsError that says what was attempted. */
export function check(result: number, attempt: string): number {
  if (result >= 0) return result
  const code = lastErrno()
  throw new IpvsError(code, `Cannot ${attempt}: the kernel says ${code}`, { command: attempt })
}
