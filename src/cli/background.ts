/** Starts a daemon in the background when none answers. */

import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import type { Paths } from '../api/paths.js'
import { CodedError, errorCode } from '../base/error.js'
import { Client } from './client.js'

const startTimeoutMs = 20_000
const pollMs = 50
/** A log of the daemon beyond this is put aside at the next start. */
const largeLogBytes = 10_000_000

export class StartError extends CodedError<'DAEMON_NOT_STARTED' | 'NOT_ROOT'> {}

/** Returns once a daemon answers at the socket. Throws StartError with the daemon's own last words. */
export async function ensureDaemon(paths: Paths): Promise<void> {
  if (await answers(paths)) return
  if (process.geteuid?.() !== 0) {
    throw new StartError(
      'NOT_ROOT',
      'Portolan makes network namespaces and needs root for it; run the command with sudo',
    )
  }
  mkdirSync(dirname(paths.daemonLog), { recursive: true, mode: 0o700 })
  const isLarge = existsSync(paths.daemonLog) && statSync(paths.daemonLog).size > largeLogBytes
  if (isLarge) renameSync(paths.daemonLog, `${paths.daemonLog}.1`)
  const log = openSync(paths.daemonLog, 'a', 0o600)
  const root = paths.root === '/' ? [] : ['--root', paths.root]
  const entry = fileURLToPath(new URL('main.js', import.meta.url))
  const child = spawn(process.execPath, [entry, ...root, 'daemon', '--background'], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
  })
  closeSync(log)
  let exitCode: number | null | undefined
  child.once('exit', code => (exitCode = code))
  child.unref()
  const deadline = performance.now() + startTimeoutMs
  while (performance.now() < deadline) {
    if (await answers(paths)) return
    if (exitCode !== undefined) break
    await delay(pollMs)
  }
  // Another `up` may have won the race to start one; then its daemon answers by now.
  if (await answers(paths)) return
  throw new StartError(
    'DAEMON_NOT_STARTED',
    `The daemon did not start: ${lastWords(paths.daemonLog)}`,
  )
}

/** True where a daemon answers. Throws where this user may not ask. */
async function answers(paths: Paths): Promise<boolean> {
  const client = new Client(paths.socket)
  try {
    await client.call('GET', '/v1/status')
    return true
  } catch (error) {
    const code = errorCode(error)
    if (code === 'CLIENT_NO_DAEMON' || code === 'CLIENT_CUT_OFF') return false
    throw error
  } finally {
    await client.close()
  }
}

function lastWords(path: string): string {
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  const last = lines.at(-1) ?? ''
  return last === '' ? `it said nothing; look at ${path}` : last.replace(/^portolan: /, '')
}
