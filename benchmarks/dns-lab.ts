/**
 * Two network namespaces joined by a veth pair: servers in one, the load generator and the
 * upstream in the other. Makes and removes them; needs root and iproute2.
 */

import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { ChildProcess } from 'node:child_process'

/** Where servers listen, port 53, and where the upstream does. */
export const SERVER_ADDRESS = '10.99.0.1'
export const UPSTREAM_ADDRESS = '10.99.0.2'

/** The server has one core to itself; load generator and upstream share the other. */
const SERVER_CORE = '0'
const CLIENT_CORE = '1'

/** Microseconds a clock tick of /proc/PID/stat; USER_HZ is 100 on every Linux that runs Node. */
const TICK_MICROSECONDS = 10_000

export class DnsLab {
  readonly #server = `dns-bench-s-${process.pid}`
  readonly #client = `dns-bench-c-${process.pid}`

  constructor() {
    const veth = `veth-b${process.pid % 100_000}`
    try {
      run(['ip', 'netns', 'add', this.#server])
      run(['ip', 'netns', 'add', this.#client])
      run(['ip', '-n', this.#server, 'link', 'add', veth, 'type', 'veth', 'peer', 'eth0'])
      run(['ip', '-n', this.#server, 'link', 'set', 'eth0', 'netns', this.#client])
      this.#configure(this.#server, veth, SERVER_ADDRESS)
      this.#configure(this.#client, 'eth0', UPSTREAM_ADDRESS)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Starts a server on its core, in its namespace. */
  startServer(command: readonly string[]): ChildProcess {
    return start(this.#server, SERVER_CORE, command)
  }

  /** Starts something beside the load generator. */
  startClient(command: readonly string[]): ChildProcess {
    return start(this.#client, CLIENT_CORE, command)
  }

  /** Runs a client program to its end and returns what it printed. */
  runClient(command: readonly string[]): string {
    return run(['ip', 'netns', 'exec', this.#client, 'taskset', '-c', CLIENT_CORE, ...command])
  }

  /** Ends what still runs in the namespaces, daemons too, and removes them. */
  close(): void {
    for (const name of [this.#server, this.#client]) {
      try {
        const pids = run(['ip', 'netns', 'pids', name]).split('\n').filter(Boolean)
        for (const pid of pids) kill(Number(pid))
        run(['ip', 'netns', 'del', name])
      } catch {
        // Not made, or gone already: nothing is left either way.
      }
    }
  }

  #configure(namespace: string, link: string, address: string): void {
    run(['ip', '-n', namespace, 'addr', 'add', `${address}/24`, 'dev', link])
    run(['ip', '-n', namespace, 'link', 'set', link, 'up'])
    run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up'])
  }
}

/** User and system time of a process and its threads so far, in microseconds. */
export function cpuMicroseconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name in parentheses may hold blanks; utime and stime are the 12th and 13th after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MICROSECONDS
}

/** Ends a process at once; one that has ended is no error. */
export function kill(pid: number): void {
  try {
    if (pid > 0) process.kill(pid, 'SIGKILL')
  } catch {
    // Ended by itself.
  }
}

function start(namespace: string, core: string, command: readonly string[]): ChildProcess {
  const args = ['netns', 'exec', namespace, 'taskset', '-c', core, ...command]
  // `ip` and `taskset` exec what follows, so the child's pid is the server's.
  return spawn('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })
}

function run(command: readonly string[]): string {
  const [file = '', ...args] = command
  return execFileSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 30, stdio: 'pipe' })
}
