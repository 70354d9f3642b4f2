/** What a host left on the machine: processes, mounts, links. Reads /proc and asks the kernel. */

import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { listLinks } from '../../src/kernel/rtnetlink.js'

/**
 * Processes that see a mount of `root` or were started with it: a container's /etc files are mounts
 * of files below the root, also where it has no network.
 */
export function findProcesses(root: string): number[] {
  const mark = basename(root)
  const self = new Set([process.pid, process.ppid])
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => Number.isInteger(pid) && !self.has(pid))
    .filter(pid => ['mountinfo', 'cmdline'].some(file => read(pid, file).includes(mark)))
}

/** Ends processes for good; one that is gone already is no matter. */
export function endProcesses(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It was faster.
    }
  }
}

/** One phrase for each trace; links of `expected` names are none. */
export function describeLeftovers(
  root: string,
  netns: Netns,
  expected: readonly string[],
): string[] {
  const processes = findProcesses(root)
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(line => line.includes(basename(root)))
  const links = runInNetns(netns, () => listLinks()).filter(({ name }) => !expected.includes(name))
  return [
    ...processes.map(pid => `process ${pid} (${read(pid, 'cmdline').split('\0').join(' ')})`),
    ...mounts.map(line => `mount ${line}`),
    ...links.map(({ name }) => `link ${name}`),
  ]
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}
