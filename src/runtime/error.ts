/** What can go wrong with a container's process, as codes a caller can act on. */

import { readFileSync } from 'node:fs'
import { CodedError } from '../base/error.js'

export type RuntimeErrorCode =
  | 'RUNTIME_NOT_ROOT' //              namespaces need root
  | 'RUNTIME_UNSUPPORTED' //           the kernel or libc lacks something, named in the message
  | 'RUNTIME_BAD_SPECIFICATION' //     an argument cannot be used: a NUL byte, an unknown signal
  | 'RUNTIME_NO_WORKING_DIRECTORY'
  | 'RUNTIME_COMMAND_NOT_FOUND' //     Docker's exit code 127
  | 'RUNTIME_COMMAND_NOT_EXECUTABLE' // Docker's exit code 126
  | 'RUNTIME_SETUP_FAILED' //          a namespace, a mount or the init process could not be made
  | 'RUNTIME_NOT_RUNNING'
  | 'RUNTIME_STOP_FAILED' //           still there after SIGKILL

/** An error of this folder. `exitCode` is what Docker would report for the container. */
export class RuntimeError extends CodedError<RuntimeErrorCode> {
  /** 126 or 127 where the command is to blame, else 125: the engine failed, not the command. */
  get exitCode(): number {
    if (this.code === 'RUNTIME_COMMAND_NOT_FOUND') return 127
    return this.code === 'RUNTIME_COMMAND_NOT_EXECUTABLE' ? 126 : 125
  }
}

/** Linux: include/uapi/linux/capability.h. Without the first, setns(2) lets nobody come home. */
const CAPABILITIES = { CAP_SYS_CHROOT: 18n, CAP_SYS_ADMIN: 21n }

/** Throws RuntimeError `RUNTIME_NOT_ROOT` unless the process may make namespaces. */
export function requireRoot(purpose: string): void {
  if (process.geteuid?.() !== 0) {
    throw new RuntimeError(
      'RUNTIME_NOT_ROOT',
      `Cannot ${purpose} as user ${process.geteuid?.() ?? 'unknown'}: namespaces need root, ` +
        'run the daemon as root or with sudo',
    )
  }
  missing ??= findMissing()
  if (missing.length === 0) return
  throw new RuntimeError(
    'RUNTIME_NOT_ROOT',
    `Cannot ${purpose}: this root has no ${missing.join(' and ')}, which namespaces need; run the ` +
      'daemon on the host itself or in a privileged container',
  )
}

let missing: readonly string[] | undefined

function findMissing(): readonly string[] {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  const effective = BigInt(`0x${mask ?? 'ffffffff'}`)
  return Object.entries(CAPABILITIES)
    .filter(([, bit]) => ((effective >> bit) & 1n) === 0n)
    .map(([name]) => name)
}
