/** What tests of node-ipvs need: namespaces of their own, ipvsadm in them, and clients that are closed. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { Ipvs, type OpenOptions } from 'node-ipvs'
import type { Test } from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'

/** A namespace with its loopback up, for the length of `t`. */
export function openNamespace(t: Test): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

/** A client in a namespace of its own, for the length of `t`. */
export function openClient(t: Test, options: OpenOptions = {}): { ipvs: Ipvs; netns: Netns } {
  const netns = openNamespace(t)
  const ipvs = Ipvs.open({ netns: netns.fd, ...options })
  t.teardown(() => ipvs.close())
  return { ipvs, netns }
}

/** What a program prints there. Throws where it fails. */
export function runThere(netns: Netns, program: string, ...words: readonly string[]): string {
  return runInNetns(netns, () => execFileSync(program, words, { encoding: 'utf8', stdio: 'pipe' }))
}

/** Lines of `ipvsadm --save -n`, sorted: the kernel keeps services in a hash table. */
export function saveThere(netns: Netns): readonly string[] {
  return linesOf(runThere(netns, 'ipvsadm', '--save', '-n')).sort()
}

/** Loads lines as `ipvsadm --save` prints them. */
export function restoreThere(netns: Netns, lines: readonly string[]): void {
  const { status, stderr } = runInNetns(netns, () =>
    spawnSync('ipvsadm', ['--restore'], { input: `${lines.join('\n')}\n`, encoding: 'utf8' }),
  )
  if (status !== 0 || stderr !== '') throw new Error(`ipvsadm --restore: ${stderr}`)
}

export function linesOf(text: string): string[] {
  return text.split('\n').flatMap(line => (line.trim() === '' ? [] : [line.trim()]))
}

/** How many descriptors this process has. */
export function countDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** The thrown error's code, or `none`. */
export function codeOf(body: () => unknown): string {
  try {
    body()
    return 'none'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

const deadlineMs = 30_000
const pollMs = 50

/** Waits until `condition` holds. Throws after half a minute, with `what` was waited for. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await delay(pollMs)
  }
}
