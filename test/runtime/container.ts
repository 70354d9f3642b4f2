/** A container for tests: its run directory and sandbox, both gone when the test ends. */

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { openPoller } from '../../resolver/listen/poller.js'
import { isAlive, killProcess, rewriteFile, startProcess } from '../../src/runtime/index.js'
import type { ProcessIdentity } from '../../src/catalog/container.js'
import type { Poller, ProcessSpecification } from '../../src/runtime/index.js'
import { runInNamespaces } from '../../src/runtime/namespaces.js'

/** Options for a test that makes namespaces. */
export const asRoot =
  process.geteuid?.() === 0 ? {} : { skip: 'needs root: makes namespaces and mounts' }

export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** A folder that goes with the test. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'portolan-runtime-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A poller that the test closes. */
export function testPoller(t: Test): Poller {
  const poller = openPoller()
  t.teardown(() => poller.close())
  return poller
}

/** A fresh network namespace, held by the descriptor. */
export function testNetns(t: Test): { readonly fd: number } {
  const fd = runInNamespaces({ fresh: ['net'], joined: [] }, () =>
    openSync('/proc/thread-self/ns/net', 'r'),
  )
  t.teardown(() => closeSync(fd))
  return { fd }
}

export interface TestContainer {
  readonly identity: ProcessIdentity
  readonly specification: ProcessSpecification
  log(): string
}

/** Starts `argv` in a sandbox of its own; killed with the test whatever happens. */
export async function startContainer(
  t: Test,
  argv: readonly string[],
  changes: Partial<ProcessSpecification> = {},
): Promise<TestContainer> {
  const runDir = temporaryFolder(t)
  const files = {
    resolvConf: join(runDir, 'resolv.conf'),
    hosts: join(runDir, 'hosts'),
    hostname: join(runDir, 'hostname'),
  }
  rewriteFile(files.resolvConf, 'nameserver 127.0.0.11\n')
  rewriteFile(files.hosts, '10.0.1.5 shop-web-1\n')
  rewriteFile(files.hostname, 'shop-web-1\n')
  const specification = {
    name: 'shop-web-1',
    runDir,
    netns: testNetns(t),
    argv,
    env: { PATH },
    hostname: 'shop-web-1',
    files,
    logPath: join(runDir, 'log'),
    ...changes,
  }
  const identity = await startProcess(specification)
  t.teardown(() => remove(identity))
  return { identity, specification, log: () => readFileSync(specification.logPath, 'utf8') }
}

/** Kills what is left of a container. */
export async function remove(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return
  const poller = openPoller()
  await killProcess(identity, poller)
  await poller.close()
}

/** Waits until `condition` holds, 10 s at most. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt++) {
    if (condition()) return
    await delay(5)
  }
  throw new Error(`waited 10 s in vain until ${what}`)
}

/** How many of `pids` still run; a zombie does not. */
export function countProcesses(pids: readonly number[]): number {
  return pids.filter(pid => {
    try {
      return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    } catch {
      return false
    }
  }).length
}
