/**
 * A host of the test's own: a network namespace with a resolv.conf, upstream U1 at 127.0.0.1:53, and a
 * real daemon as a child process. It goes with everything in it when the test ends, however it ends.
 */

import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { ContainerView, NetworkView, StatusReply } from '../../src/api/contract.js'
import { pathsOf, type Paths } from '../../src/api/paths.js'
import { Client } from '../../src/cli/client.js'
import {
  closeNetns,
  createNetns,
  openNetns,
  runInNetns,
  type Netns,
} from '../../src/kernel/netns.js'
import { openTcpListener, openUdpSocket } from '../../src/kernel/socket.js'
import { openUpstream, world, type Behaviour, type UpstreamFixture } from '../fixtures/upstream.js'
import { describeLeftovers, endProcesses, findProcesses } from './leftovers.js'

/** Options for a test that needs a host. */
export const asRoot =
  process.geteuid?.() === 0
    ? {}
    : { skip: 'needs root: makes network namespaces and runs a daemon' }

/** The built command line of the same build as this file. */
export const commandLine = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** What ends a test from outside: its runner's time-out, a terminal, a service manager. */
const endings = ['SIGALRM', 'SIGHUP', 'SIGINT', 'SIGTERM'] as const
/** A daemon that cannot start ends by itself; the machine that emulates a kernel is slow. */
const startTimeoutMs = 120_000
const endTimeoutMs = 30_000
const pollMs = 20

export interface CommandResult {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

export interface HostOptions {
  /** Default `nameserver 127.0.0.1`. */
  readonly resolvConf?: string
  /** False: the test starts the daemon itself. Default true. */
  readonly isDaemonStarted?: boolean
  /** Default `warn`. */
  readonly logLevel?: string
}

/** Makes a host for the length of `t`. A trace that it leaves fails the test. */
export async function openHost(t: Test, options: HostOptions = {}): Promise<Host> {
  const host = new Host(options)
  t.teardown(() => host.close())
  await host.open()
  return host
}

export class Host {
  readonly netns: Netns
  /** The daemon's `--root`; its base name is in no other path of the machine. */
  readonly root: string
  readonly paths: Paths
  readonly resolvConf: string
  readonly #logLevel: string
  readonly #isDaemonStarted: boolean
  readonly #upstreams: UpstreamFixture[] = []
  readonly #namespaces = new Map<string, Netns>()
  readonly #onExit = (): void => this.#abandon()
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#forgetProcess()
    this.#abandon()
    // Alone again, the signal has its own way.
    process.kill(process.pid, signal)
  }
  /** Loopback, and the bridges of built-in networks. */
  #lastingLinks: readonly string[] = ['lo']
  #client: Client
  #daemon: ChildProcess | undefined
  #upstream: UpstreamFixture | undefined

  constructor(options: HostOptions) {
    this.root = mkdtempSync(join(tmpdir(), 'portolan-lab-'))
    this.paths = pathsOf(this.root)
    this.resolvConf = join(this.root, 'resolv.conf')
    this.#logLevel = options.logLevel ?? 'warn'
    this.#isDaemonStarted = options.isDaemonStarted ?? true
    writeFileSync(this.resolvConf, options.resolvConf ?? 'nameserver 127.0.0.1\n')
    this.netns = createNetns()
    this.#client = new Client(this.paths.socket)
    // A test that is ended by its time-out runs no teardown.
    process.on('exit', this.#onExit)
    for (const signal of endings) process.on(signal, this.#onSignal)
  }

  /** U1. */
  get upstream(): UpstreamFixture {
    if (this.#upstream === undefined) throw new Error('The host is not open')
    return this.#upstream
  }

  /** The daemon's process; undefined while none runs. */
  get daemonPid(): number | undefined {
    return this.#daemon?.pid
  }

  /** The daemon's API, typed by the caller. */
  get api(): Client {
    return this.#client
  }

  async open(): Promise<void> {
    this.#upstream = await this.listen({ address: '127.0.0.1' })
    if (this.#isDaemonStarted) await this.startDaemon()
  }

  /** Starts a daemon with extra `args`; resolves when it answers. */
  async startDaemon(args: readonly string[] = []): Promise<void> {
    const log = openSync(join(this.root, 'daemon.log'), 'a')
    const words = ['--root', this.root, 'daemon', '--resolv-conf', this.resolvConf]
    const child = runInNetns(this.netns, () =>
      spawn(process.execPath, [commandLine, ...words, '--log-level', this.#logLevel, ...args], {
        stdio: ['ignore', log, log],
        cwd: this.root,
        env: environment(),
      }),
    )
    closeSync(log)
    this.#daemon = child
    child.once('exit', () => {
      if (this.#daemon === child) this.#daemon = undefined
    })
    await this.#waitForDaemon()
  }

  /** Ends the daemon and waits until it is gone; containers go on running. */
  async endDaemon(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#daemon
    if (child === undefined) return
    const ended = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs)
    await ended
    clearTimeout(timer)
    await this.#client.close()
    this.#client = new Client(this.paths.socket)
  }

  /** What the daemon wrote so far. */
  daemonLog(): string {
    return readFileSync(join(this.root, 'daemon.log'), 'utf8')
  }

  status(): Promise<StatusReply> {
    return this.api.call<StatusReply>('GET', '/v1/status')
  }

  /** Runs `portolan ARGS` on the host. Does not throw: the code tells. */
  async cli(...args: readonly string[]): Promise<CommandResult> {
    const child = runInNetns(this.netns, () =>
      spawn(process.execPath, [commandLine, '--root', this.root, ...args], {
        cwd: this.root,
        env: environment(),
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    )
    const texts = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', chunk => (texts[name] += String(chunk)))
    }
    await once(child, 'close')
    return { ...texts, code: child.exitCode ?? 128 }
  }

  /** Runs `portolan ARGS` and throws what it said where it failed. Returns its output. */
  async run(...args: readonly string[]): Promise<string> {
    const { stdout, stderr, code } = await this.cli(...args)
    if (code === 0) return stdout
    throw new Error(`portolan ${args.join(' ')} ended with ${code}: ${stderr}\n${this.daemonLog()}`)
  }

  /** Writes `text` as a Compose file NAME.yaml below the root; returns its path. */
  writeFile(name: string, text: string): string {
    const path = join(this.root, name)
    writeFileSync(path, text)
    return path
  }

  /** The container as `ps --json` shows it. */
  container(name: string): Promise<ContainerView> {
    return this.api.call<ContainerView>('GET', `/v1/containers/${encodeURIComponent(name)}`)
  }

  /** The network namespace of a running container. Closed with the host. */
  async netnsOf(name: string): Promise<Netns> {
    const { pid } = await this.container(name)
    if (pid === undefined) throw new Error(`Container "${name}" is not running`)
    const netns = openNetns(`/proc/${pid}/ns/net`)
    const known = this.#namespaces.get(netns.id)
    if (known === undefined) {
      this.#namespaces.set(netns.id, netns)
      return netns
    }
    closeNetns(netns)
    return known
  }

  /** An upstream server in the host's namespace, or in another one. Closed with the host. */
  async listen(
    place: { readonly address: string; readonly port?: number; readonly netns?: Netns },
    behaviour: Behaviour = world(),
  ): Promise<UpstreamFixture> {
    const { address, port = 53 } = place
    const fds = runInNetns(place.netns ?? this.netns, () => ({
      udpFd: openUdpSocket({ address, port }).fd,
      tcpFd: openTcpListener({ address, port, backlog: 64 }).fd,
    }))
    const upstream = await openUpstream(fds, behaviour)
    this.#upstreams.push(upstream)
    return upstream
  }

  /** Forgets what the daemon remembers of upstreams' answers. */
  async flushDns(): Promise<void> {
    await this.api.call('POST', '/v1/dns/flush')
  }

  /** Takes everything down. Throws where something was left, and removes that too. */
  async close(): Promise<void> {
    const faults = await this.#takeDown()
    for (const upstream of this.#upstreams) await upstream.close()
    for (const netns of this.#namespaces.values()) closeNetns(netns)
    faults.push(...describeLeftovers(this.root, this.netns, this.#lastingLinks))
    const log = faults.length > 0 ? this.daemonLog() : ''
    this.#forgetProcess()
    this.#abandon()
    if (faults.length > 0) throw new Error(`The host left: ${faults.join('; ')}\n${log}`)
  }

  /** Every project and network down and the daemon ended; what did not go that way. */
  async #takeDown(): Promise<string[]> {
    try {
      if (this.#daemon === undefined && findProcesses(this.root).length > 0) {
        await this.startDaemon()
      }
      if (this.#daemon !== undefined) {
        for (const { name } of await this.api.call<readonly { name: string }[]>(
          'GET',
          '/v1/projects',
        )) {
          const path = `/v1/projects/${encodeURIComponent(name)}?timeout=0`
          await this.api.stream('DELETE', path, undefined, () => undefined)
        }
        await this.api.call('POST', '/v1/networks/prune')
        const networks = await this.api.call<readonly NetworkView[]>('GET', '/v1/networks')
        this.#lastingLinks = ['lo', ...networks.flatMap(one => (one.isBuiltin && one.bridge) || [])]
      }
      return []
    } catch (error) {
      return [`no clean end: ${String(error)}`]
    } finally {
      await this.endDaemon()
      await this.#client.close()
    }
  }

  #forgetProcess(): void {
    process.off('exit', this.#onExit)
    for (const signal of endings) process.off(signal, this.#onSignal)
  }

  /** Synchronous and for good: also runs when the process exits early. */
  #abandon(): void {
    this.#daemon?.kill('SIGKILL')
    endProcesses(findProcesses(this.root))
    rmSync(this.root, { recursive: true, force: true })
    try {
      closeNetns(this.netns)
    } catch {
      // Closed before.
    }
  }

  async #waitForDaemon(): Promise<void> {
    const deadline = performance.now() + startTimeoutMs
    for (;;) {
      try {
        await this.status()
        return
      } catch (error) {
        if (this.#daemon === undefined || performance.now() > deadline) {
          throw new Error(`The daemon did not start: ${this.daemonLog()}`, { cause: error })
        }
      }
      await delay(pollMs)
    }
  }
}

/** The test's own, without what would tell a command of another daemon or project. */
function environment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TERM } = process.env
  return { PATH, HOME, TERM }
}
