/** Descriptors that stand for one process: they never come to mean another, as a pid may. */
import { check, libc } from './libc.js'

/** The same on every architecture (include/uapi/asm-generic/unistd.h). */
const SYS_PIDFD_SEND_SIGNAL = 424
const SYS_PIDFD_OPEN = 434
/** A descriptor, readable once the process has ended. Throws KernelError `ESRCH`. */
export function openPidfd(pid: number): number {
  return check(libc.syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0), `open a pidfd of process ${pid}`)
}

/** Signals the process of a pidfd. Throws KernelError `ESRCH` where it has ended. */
export function signalPidfd(fd: number, signal: number): void {
  check(libc.syscall(SYS_PIDFD_SEND_SIGNAL, fd, signal, 0, 0), `send signal ${signal}`)
}
