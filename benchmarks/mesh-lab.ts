/**
 * A host with replicas behind it and a client outside, each a network namespace: as the mesh finds
 * them. Replicas serve by nginx, which says little and says it fast, and take bytes by iperf3. Goes with
 * this process; needs root.
 */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeIngress, reconcileIngress } from '../mesh/sandbox/ingress.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../src/kernel/netns.js'
import {
  addAddress,
  addDefaultRoute,
  createBridge,
  createVeth,
  getLink,
  setPortIsolated,
  updateLink,
} from '../src/kernel/rtnetlink.js'
import { writeSysctl } from '../src/kernel/sysctl.js'
import { CLIENT, HOST, ingressOf, PLACE } from '../test/lab/mesh-host.js'
import type { Destination } from '../mesh/state.js'

/** What replicas listen on, and the port of the host that leads there. */
export const WEB = { target: 80, published: 8080 } as const
export const BULK = { target: 5201, published: 5201 } as const
const FRONT = { bridge: 'front', v4: '10.0.1', v6: 'fd00:1:' } as const
/**
 * Replicas have one core and clients another, as a pair that meets on one core talks several times as
 * fast, and only what leads to one replica makes such pairs. Proxies are where the kernel puts them.
 */
const REPLICA_CORE = '0'
const CLIENT_CORE = availableParallelism() > 1 ? '1' : '0'
const MOST_SAID = 1_000
/** USER_HZ is 100 on every Linux that runs Node. */
const MILLISECONDS_A_TICK = 10
/** Where user time is among the fields of a process, then system time; and of children that have ended. */
const OWN_TIME = 11
const CHILDREN_TIME = 13

export interface Replica {
  readonly netns: Netns
  /** On the front network, where a proxy meets it. */
  readonly address: string
  /** On the ingress network, where the mesh does. */
  readonly destination: Destination
}

export class MeshLab {
  /** Configuration of whatever runs here. */
  readonly folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
  readonly host: Netns
  readonly client: Netns
  readonly replicas: readonly Replica[]
  readonly #children = new Set<ChildProcess>()

  constructor(count: number) {
    this.host = createNetns()
    this.client = createNetns()
    runInNetns(this.host, () => buildHost(this.client))
    runInNetns(this.client, () => {
      bringUp('eth0', [`${CLIENT.v4}/24`])
      addDefaultRoute(HOST.v4, indexOf('eth0'))
      widenPorts()
    })
    this.replicas = Array.from({ length: count }, (_, index) => this.#openReplica(index))
  }

  /** Starts a program in a namespace; it ends with the lab. What it says is in `said`. */
  start(netns: Netns, command: readonly string[], more: readonly number[] = []): ChildProcess {
    const log = openSync(join(this.folder, 'said'), 'a')
    // Also where this process is killed and can end nobody.
    const args = ['--pdeathsig', 'TERM', ...command]
    const child = runInNetns(netns, () =>
      spawn('setpriv', args, { cwd: this.folder, stdio: ['ignore', log, log, ...more] }),
    )
    closeSync(log)
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  /** What the programs that were started said, the last of it. */
  said(): string {
    return readFileSync(join(this.folder, 'said'), 'utf8').slice(-MOST_SAID)
  }

  /** Runs a program to its end in a namespace and returns what it printed. */
  run(netns: Netns, command: readonly string[]): string {
    const [file = '', ...args] = command
    return runInNetns(netns, () => execFileSync(file, args, { encoding: 'utf8', stdio: 'pipe' }))
  }

  /** As `run`, at the client's, while this process goes on. */
  load(command: readonly string[]): Promise<string> {
    const child = runInNetns(this.client, () =>
      spawn('taskset', ['-c', CLIENT_CORE, ...command], {
        cwd: this.folder,
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    )
    this.#children.add(child)
    let output = ''
    child.stdout.setEncoding('utf8').on('data', text => (output += String(text)))
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => {
        this.#children.delete(child)
        if (code === 0) resolve(output)
        else reject(new Error(`${command.join(' ')} ended with ${code ?? 'a signal'}: ${output}`))
      })
    })
  }

  /** Writes a configuration file and returns its path. */
  write(name: string, text: string): string {
    const path = join(this.folder, name)
    writeFileSync(path, text)
    return path
  }

  /** What the daemon would do in the sandboxes of the replicas, and the way back. */
  openSandboxes(): void {
    for (const { netns, address, destination } of this.replicas) {
      const { ipv4 = '', ipv6 = '' } = destination
      const own = { ipv4: address, ipv6: destination.ownAddresses[1] ?? '' }
      runInNetns(netns, () => reconcileIngress(ingressOf(own, { ipv4, ipv6 })))
    }
  }

  closeSandboxes(): void {
    for (const { netns } of this.replicas) runInNetns(netns, removeIngress)
  }

  /**
   * CPU time so far, in milliseconds, of everything that runs here and of what has run to its end. What
   * the kernel does for packets counts for whom it interrupts, mostly the sender.
   */
  cpu(): number {
    const pids = [...this.#children].flatMap(({ pid }) => (pid === undefined ? [] : familyOf(pid)))
    const ended = fieldsOf(process.pid).slice(CHILDREN_TIME, CHILDREN_TIME + 2)
    return cpuOf(pids) + ended.reduce((sum, ticks) => sum + ticks, 0) * MILLISECONDS_A_TICK
  }

  /** Resolves when all that was started has ended. */
  async close(): Promise<void> {
    const ended = [...this.#children].map(child => once(child, 'exit'))
    this.abandon()
    await Promise.all(ended)
  }

  /** As `close`, for a process that ends itself. */
  abandon(): void {
    for (const child of this.#children) child.kill('SIGTERM')
    for (const { netns } of this.replicas) closeNetns(netns)
    closeNetns(this.client)
    closeNetns(this.host)
    rmSync(this.folder, { recursive: true, force: true })
  }

  #openReplica(index: number): Replica {
    const n = index + 10
    const netns = createNetns()
    const [address, address6] = [`${FRONT.v4}.${n}`, `${FRONT.v6}:${n}`]
    const ingress = { ipv4: `10.99.0.${n}`, ipv6: `fd00:99::${n}` }
    runInNetns(this.host, () => {
      for (const [bridge, end] of [
        [FRONT.bridge, 'eth0'],
        [PLACE.bridge, 'ingress0'],
      ] as const) {
        const name = `${end.slice(0, 3)}${n}`
        createVeth({ name, master: indexOf(bridge), isUp: true }, { name: end }, netns)
      }
      setPortIsolated(indexOf(`ing${n}`), true)
    })
    runInNetns(netns, () => {
      bringUp('eth0', [`${address}/24`, `${address6}/64`])
      bringUp('ingress0', [`${ingress.ipv4}/24`, `${ingress.ipv6}/64`])
      addDefaultRoute(`${FRONT.v4}.1`, indexOf('eth0'))
      addDefaultRoute(`${FRONT.v6}:1`, indexOf('eth0'))
    })
    const pinned = ['taskset', '-c', REPLICA_CORE]
    const web = this.write(`web${n}.conf`, composeWeb(join(this.folder, `web${n}.pid`)))
    this.start(netns, [...pinned, 'nginx', '-c', web])
    this.start(netns, [...pinned, 'iperf3', '--server', '--port', String(BULK.target)])
    const ownAddresses = [address, address6]
    const destination = { id: `replica${n}`, ...ingress, weight: 1, ownAddresses }
    return { netns, address, destination }
  }
}

/** User and system time of processes and their threads so far, in milliseconds. */
export function cpuOf(pids: readonly number[]): number {
  const ticks = pids.flatMap(pid => fieldsOf(pid).slice(OWN_TIME, OWN_TIME + 2))
  return ticks.reduce((sum, count) => sum + count, 0) * MILLISECONDS_A_TICK
}

/** Processes that a process started, and those they started, itself first. */
export function familyOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`
  const children = readFileSync(path, 'utf8').split(' ').filter(Boolean)
  return [pid, ...children.flatMap(child => familyOf(Number(child)))]
}

/** Of proc_pid_stat(5), from the state on. */
function fieldsOf(pid: number): number[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name in parentheses may hold blanks.
  return stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
}

function buildHost(client: Netns): void {
  writeSysctl('net.ipv4.ip_forward', '1')
  widenPorts()
  createVeth({ name: 'outside' }, { name: 'eth0' }, client)
  createBridge(FRONT.bridge)
  createBridge(PLACE.bridge, { mac: PLACE.host.mac })
  bringUp('outside', [`${HOST.v4}/24`])
  bringUp(FRONT.bridge, [`${FRONT.v4}.1/24`, `${FRONT.v6}:1/64`])
  bringUp(PLACE.bridge, [`${PLACE.host.ipv4}/24`, `${PLACE.host.ipv6}/64`])
}

/** Who connects thousands of times a second needs them, client and proxy alike. */
function widenPorts(): void {
  writeSysctl('net.ipv4.ip_local_port_range', '1024\t65535')
}

/** The configuration of nginx: one process a replica. */
export function composeWeb(pidFile: string): string {
  return `daemon off;
master_process off;
pid ${pidFile};
error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  server {
    listen ${WEB.target} backlog=4096;
    default_type text/plain;
    return 200 "hello\\n";
  }
}
`
}

function bringUp(name: string, addresses: readonly string[]): void {
  const index = indexOf(name)
  for (const address of addresses) addAddress(index, address)
  updateLink(index, { isUp: true })
}

function indexOf(name: string): number {
  const link = getLink(name)
  if (link === undefined) throw new Error(`no link ${name}`)
  return link.index
}
