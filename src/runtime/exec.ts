/** Runs a further command inside a running container: health probes, and `exec` of the CLI. */

import { closeSync, constants, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { systemClock } from '../base/clock.js'
import type { Clock } from '../base/clock.js'
import { findCommand, notExecutable } from './command.js'
import { composeEnvironment } from './environment.js'
import type { Environment } from './environment.js'
import { requireRoot, RuntimeError } from './error.js'
import { isAlive } from './identity.js'
import type { ProcessIdentity } from '../catalog/container.js'
import { errnoName, libc } from './libc.js'
import { runInNamespaces } from './namespaces.js'
import type { NamespaceKind } from './namespaces.js'
import { onChildExit, spawnChild } from './spawn.js'

export interface ExecOptions {
  readonly env?: Environment
  /** Default `/`. */
  readonly workingDirectory?: string
  /** Absent: as long as it takes. */
  readonly timeoutMs?: number
  /** Output beyond this is read and dropped. Default 4096, what Docker keeps of a probe. */
  readonly outputLimitBytes?: number
  readonly clock?: Clock
}

export interface ExecResult {
  /** 0-255; 128 + N for signal N; undefined where the time was up and the command was killed. */
  readonly code: number | undefined
  /** Standard output and error as they came. */
  readonly output: string
}

const NAMESPACES: readonly NamespaceKind[] = ['net', 'uts', 'pid', 'mnt']
const DEFAULT_OUTPUT_LIMIT_BYTES = 4096
/** For output still in the pipe of a command that ended; a child it left may hold the pipe open. */
const DRAIN_MS = 100
/** Linux: include/uapi/asm-generic/fcntl.h. */
const O_CLOEXEC = 0x8_0000

/**
 * Runs `argv` in the container and waits for its end. A missing command is code 127 or 126 with the
 * reason as output, as in a shell. On time-out its whole process group is killed.
 * Throws RuntimeError `RUNTIME_NOT_RUNNING`, `RUNTIME_SETUP_FAILED`.
 */
export async function execInContainer(
  identity: ProcessIdentity,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  requireRoot(`run a command in "${identity.name}"`)
  const [output, input] = openPipe()
  let pid: number
  try {
    pid = bearCommand(identity, argv, options, input)
  } catch (error) {
    closeSync(output)
    if (!(error instanceof RuntimeError) || error.exitCode === 125) throw error
    return { code: error.exitCode, output: error.message }
  } finally {
    closeSync(input)
  }
  return collect(pid, new Socket({ fd: output, readable: true, writable: false }), options)
}

/**
 * The words of util-linux `nsenter` that run `argv` in the container, for a terminal: the caller
 * starts them with its own standard streams and the environment the command shall have.
 */
export function nsenterArguments(
  identity: ProcessIdentity,
  argv: readonly string[],
  options: Pick<ExecOptions, 'workingDirectory'> = {},
): string[] {
  const place = [`--target=${identity.initPid}`, `--wd=${options.workingDirectory ?? '/'}`]
  return ['nsenter', ...place, '--net', '--uts', '--pid', '--mount', '--', ...argv]
}

/** Starts the command in the namespaces of the init. Synchronous: the main thread is away. */
function bearCommand(
  identity: ProcessIdentity,
  argv: readonly string[],
  options: ExecOptions,
  output: number,
): number {
  const { env = {}, workingDirectory = '/' } = options
  const purpose = `run a command in "${identity.name}"`
  const words = composeEnvironment(env)
  const nothing = openSync('/dev/null', constants.O_RDONLY)
  const joined = openNamespaces(identity, purpose)
  try {
    return runInNamespaces({ fresh: [], joined }, () => {
      const path = findCommand({ purpose, argv, path: env['PATH'], workingDirectory })
      libc().chdir(workingDirectory)
      const result = spawnChild({ path, argv, env: words, fds: [nothing, output, output] })
      if (result.kind === 'started') return result.pid
      throw notExecutable(purpose, argv[0] ?? '', `${path}: ${result.errno}`)
    })
  } finally {
    closeSync(nothing)
    for (const { fd } of joined) closeSync(fd)
  }
}

function openNamespaces(
  identity: ProcessIdentity,
  purpose: string,
): { readonly kind: NamespaceKind; readonly fd: number }[] {
  const opened: { readonly kind: NamespaceKind; readonly fd: number }[] = []
  try {
    for (const kind of NAMESPACES) {
      opened.push({ kind, fd: openSync(`/proc/${identity.initPid}/ns/${kind}`, 'r') })
    }
    // Looked at last: the namespaces opened are those of the very process, not of a reused pid.
    if (isAlive(identity)) return opened
  } catch (error) {
    if (isAlive(identity)) throw error
  }
  for (const { fd } of opened) closeSync(fd)
  throw new RuntimeError('RUNTIME_NOT_RUNNING', `Cannot ${purpose}: it is not running`)
}

/** The output of child `pid` and its end, whichever is later, within the time-out. */
function collect(pid: number, socket: Socket, options: ExecOptions): Promise<ExecResult> {
  const { timeoutMs, outputLimitBytes = DEFAULT_OUTPUT_LIMIT_BYTES, clock = systemClock } = options
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    let room = outputLimitBytes
    let isLate = false
    const timer =
      timeoutMs === undefined
        ? undefined
        : clock.after(timeoutMs, () => {
            isLate = true
            killGroup(pid)
          })
    socket.on('data', (bytes: Buffer) => {
      if (room > 0) chunks.push(bytes.subarray(0, room))
      room -= bytes.length
    })
    socket.on('error', () => socket.destroy())
    onChildExit(pid, code => {
      timer?.cancel()
      const drain = clock.after(DRAIN_MS, () => socket.destroy())
      const finish = (): void => {
        drain.cancel()
        const output = Buffer.concat(chunks).toString('utf8')
        resolve({ code: isLate ? undefined : code, output })
      }
      if (socket.closed) finish()
      else socket.once('close', finish)
    })
  })
}

/** The command leads a session of its own, so its pid names the group. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Ended in this very moment; its exit is on the way.
  }
}

function openPipe(): readonly [number, number] {
  const fds = [-1, -1]
  if (libc().pipe2(fds, O_CLOEXEC) === 0) return [fds[0] ?? -1, fds[1] ?? -1]
  const reason = errnoName(libc().errno())
  throw new RuntimeError('RUNTIME_SETUP_FAILED', `Cannot open a pipe: ${reason}`)
}
