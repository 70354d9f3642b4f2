/**
 * Starts a container: one process tree in its own network (given), mount, UTS and PID namespaces on
 * the host's file system. It outlives the daemon. Says nothing about when to start or restart.
 *
 * ```
 *  daemon (main thread)                          init (/bin/sh, PID 1)             app
 *  enter netns, make mnt+uts+pid
 *  mount /etc files, /sys; host name
 *  posix_spawn ───────────────────────────────>  read a line
 *  mount /proc, go home
 *  write run dir `process`
 *  "go" ───────────────────────────────────────> fork ──────────────────────────> pid to daemon
 *                                                wait, reap orphans               exec command
 *                                                write run dir `exit`  <───────── ends
 * ```
 */

import { closeSync, constants, openSync, realpathSync } from 'node:fs'
import { Socket } from 'node:net'
import { basename } from 'node:path'
import { findCommand } from './command.js'
import { planEnvironment } from './environment.js'
import type { Environment } from './environment.js'
import { requireRoot, RuntimeError } from './error.js'
import { clearRecords, readBootId, readStartTime, writeIdentity } from './identity.js'
import type { ProcessIdentity } from '../catalog/container.js'
import { INIT_SCRIPT } from './init-script.js'
import { errnoName, libc } from './libc.js'
import { bindFiles, isolateMounts, mountProc, mountSys } from './mounts.js'
import type { ContainerFiles } from './mounts.js'
import { runInNamespaces } from './namespaces.js'
import { onChildExit, spawnChild } from './spawn.js'

export interface ProcessSpecification {
  /** The container's name, for messages. */
  readonly name: string
  /** An existing folder of this container alone; `process`, `app` and `exit` are written there. */
  readonly runDir: string
  /** The sandbox. Absent: the host's network. */
  readonly netns?: { readonly fd: number }
  readonly argv: readonly string[]
  /** Exactly what the command gets; PATH in it says where the command is looked up. */
  readonly env: Environment
  /** Default `/`. */
  readonly workingDirectory?: string
  /** Absent: the host's. */
  readonly hostname?: string
  readonly domainname?: string
  readonly files?: ContainerFiles
  /** Standard output and error are appended here. */
  readonly logPath: string
}

/** The init has to answer within this; it does in 1 ms, but a host may be starting 500 at once. */
const HANDSHAKE_TIMEOUT_MS = 20_000
const SHELL = '/bin/sh'
/** Shells that hand on their environment as it was, but for PWD and OLDPWD. */
const PLAIN_SHELLS = ['dash', 'busybox', 'ash']
/** Linux: include/linux/net.h. */
const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC = 0x8_0001

/**
 * Starts the container and returns once its command is about to be executed. Throws RuntimeError
 * `RUNTIME_NOT_ROOT`, `RUNTIME_BAD_SPECIFICATION`, `RUNTIME_NO_WORKING_DIRECTORY`,
 * `RUNTIME_COMMAND_NOT_FOUND`, `RUNTIME_COMMAND_NOT_EXECUTABLE`, `RUNTIME_SETUP_FAILED`; nothing is
 * left running then.
 */
export async function startProcess(specification: ProcessSpecification): Promise<ProcessIdentity> {
  const purpose = `start "${specification.name}"`
  requireRoot(purpose)
  const argv = composeArgv(specification, purpose)
  clearRecords(specification.runDir)
  const [ours, theirs] = openControl(purpose)
  let born: Born
  try {
    born = bearInit(specification, argv, theirs)
  } catch (error) {
    closeSync(ours)
    throw error
  } finally {
    closeSync(theirs)
  }
  const socket = new Socket({ fd: ours, readable: true, writable: true })
  try {
    const identity = recordInit(specification, born.pid)
    const appPid = await handshake(socket, born.hasProc ? 'go' : 'mount', purpose)
    return { ...identity, appPid }
  } catch (error) {
    // Before the word "go" the closed socket ends it; after, only the signal does.
    process.kill(born.pid, 'SIGKILL')
    onChildExit(born.pid, () => undefined)
    clearRecords(specification.runDir)
    throw error
  } finally {
    socket.destroy()
  }
}

interface InitArguments {
  readonly argv: readonly string[]
  readonly env: readonly string[]
  readonly workingDirectory: string
}

interface Born {
  readonly pid: number
  readonly hasProc: boolean
}

function composeArgv(specification: ProcessSpecification, purpose: string): InitArguments {
  const { argv, env, runDir, workingDirectory = '/' } = specification
  const program = findCommand({ purpose, argv, path: env['PATH'], workingDirectory })
  const plan = planEnvironment(env, isPlainShell())
  if (plan.prefix.length > 0 && argv[0]?.includes('=')) {
    throw new RuntimeError(
      'RUNTIME_BAD_SPECIFICATION',
      `Cannot ${purpose}: its environment has names that only \`env\` can set, and \`env\` would ` +
        `take the command "${argv[0]}" for a further one; rename the command`,
    )
  }
  // Without PATH, `env` and the shell would each look in a default of their own.
  const words = env['PATH'] === undefined ? [program, ...argv.slice(1)] : argv
  return {
    argv: ['sh', '-c', INIT_SCRIPT, runDir, mountProgram(), ...plan.prefix, ...words],
    env: plan.inherited,
    workingDirectory,
  }
}

/** Makes the namespaces and the init in them. Synchronous: the main thread is away meanwhile. */
function bearInit(specification: ProcessSpecification, init: InitArguments, control: number): Born {
  const { netns, logPath, files = {} } = specification
  const log = openSync(logPath, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640)
  const nothing = openSync('/dev/null', constants.O_RDONLY)
  const proc = openSync('/proc', constants.O_RDONLY | constants.O_DIRECTORY)
  const joined = netns ? [{ kind: 'net', fd: netns.fd } as const] : []
  try {
    return runInNamespaces({ fresh: ['mnt', 'uts', 'pid'], joined }, () => {
      isolateMounts()
      bindFiles(files)
      if (netns) mountSys()
      nameHost(specification)
      libc().chdir(init.workingDirectory)
      const fds = [nothing, log, log, control, proc]
      const result = spawnChild({ path: SHELL, argv: init.argv, env: init.env, fds })
      if (result.kind === 'failed') throw initFailed(specification.name, result.errno)
      return { pid: result.pid, hasProc: mountProc(result.pid) }
    })
  } finally {
    for (const fd of [log, nothing, proc]) closeSync(fd)
  }
}

function nameHost({ name, hostname, domainname }: ProcessSpecification): void {
  const set = (value: string | undefined, call: (name: string, bytes: number) => number): void => {
    if (value === undefined || call(value, Buffer.byteLength(value)) === 0) return
    throw new RuntimeError(
      'RUNTIME_BAD_SPECIFICATION',
      `Cannot start "${name}": the kernel refuses the host or domain name "${value}" ` +
        `(${errnoName(libc().errno())}); 64 bytes is the limit`,
    )
  }
  set(hostname, libc().sethostname)
  set(domainname, libc().setdomainname)
}

/** On disk before the app runs: whatever kills the daemon, the next one finds the container. */
function recordInit({ name, runDir }: ProcessSpecification, initPid: number): ProcessIdentity {
  const startTime = readStartTime(initPid)
  if (startTime === undefined) throw initFailed(name, 'it ended at once')
  const identity = { name, runDir, initPid, startTime, bootId: readBootId() }
  writeIdentity(identity)
  return identity
}

/** Lets the init go on and waits for the app's host pid. */
function handshake(socket: Socket, word: 'go' | 'mount', purpose: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = ''
    const fail = (reason: string): void => {
      reject(new RuntimeError('RUNTIME_SETUP_FAILED', `Cannot ${purpose}: ${reason}`))
    }
    socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => fail('its init process does not answer'))
    socket.on('error', error => fail(`its init process is out of reach (${error.message})`))
    socket.on('close', () => fail('its init process ended early, see its log'))
    socket.on('data', bytes => {
      text += bytes.toString('latin1')
      if (!text.endsWith('\n')) return
      const appPid = Number(text)
      if (appPid > 0) resolve(appPid)
      else fail('its /proc cannot be mounted, see its log')
    })
    socket.write(`${word}\n`)
  })
}

function openControl(purpose: string): readonly [number, number] {
  const fds = [-1, -1]
  if (libc().socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds) === 0)
    return [fds[0] ?? -1, fds[1] ?? -1]
  const reason = errnoName(libc().errno())
  throw new RuntimeError('RUNTIME_SETUP_FAILED', `Cannot ${purpose}: no socket pair (${reason})`)
}

function initFailed(name: string, reason: string): RuntimeError {
  return new RuntimeError(
    'RUNTIME_SETUP_FAILED',
    `Cannot start "${name}": its init process (${SHELL}) could not be started (${reason})`,
  )
}

let plainShell: boolean | undefined

function isPlainShell(): boolean {
  plainShell ??= PLAIN_SHELLS.includes(basename(realpathSync(SHELL)))
  return plainShell
}

let mountPath: string | undefined

/** Only kernels before 6.17 need it. */
function mountProgram(): string {
  mountPath ??= findMount()
  return mountPath
}

function findMount(): string {
  try {
    return findCommand({
      purpose: 'mount /proc',
      argv: ['mount'],
      path: undefined,
      workingDirectory: '/',
    })
  } catch {
    return '/bin/mount'
  }
}
