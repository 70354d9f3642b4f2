/**
 * Who a container's process is, across daemons: pids alone are reused, so the start time and the
 * boot are part of it. The run directory holds the same facts, written before the app runs.
 */

import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../base/error.js'
import type { ProcessIdentity } from '../catalog/container.js'

/** How a container ended. */
export interface ProcessExit {
  /** 0-255; 128 + N for signal N. 137 where the init was killed before it could tell. */
  readonly code: number
  /** False where the init left no code: it was killed, or the machine went down. */
  readonly isRecorded: boolean
  /** Milliseconds since the epoch, where a code was recorded. */
  readonly finishedAt?: number
}

const IDENTITY_FILE = 'process'
/** Written by the container: the app's host pid; the exit code and a line end, in one write. */
const APP_FILE = 'app'
const EXIT_FILE = 'exit'

/** Field 22 of /proc/PID/stat, or undefined where there is no such process or it is a zombie. */
export function readStartTime(pid: number): number | undefined {
  const fields = readStat(pid)
  const state = fields?.[0]
  if (fields === undefined || state === 'Z' || state === 'X') return undefined
  return Number(fields[19])
}

/** The parent of a process, or undefined where it is gone. */
export function readParentPid(pid: number): number | undefined {
  const fields = readStat(pid)
  return fields === undefined ? undefined : Number(fields[1])
}

let bootId: string | undefined

/** Changes with every boot. */
export function readBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return bootId
}

/** Whether the very process of `identity` still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identity.bootId === readBootId() && readStartTime(identity.initPid) === identity.startTime
}

/** Records `identity` in its run directory, whole or not at all. */
export function writeIdentity(identity: ProcessIdentity): void {
  const path = join(identity.runDir, IDENTITY_FILE)
  writeFileSync(`${path}.new`, JSON.stringify(identity), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** Forgets the last run of a run directory, so that nothing of it is taken for the next one's. */
export function clearRecords(runDir: string): void {
  for (const file of [IDENTITY_FILE, APP_FILE, EXIT_FILE])
    rmSync(join(runDir, file), { force: true })
}

/**
 * The container of a run directory, for a daemon that finds one it did not record itself.
 * Undefined where none was started there or the record cannot be read.
 */
export function readIdentity(runDir: string): ProcessIdentity | undefined {
  const text = readOptional(join(runDir, IDENTITY_FILE))
  if (text === undefined) return undefined
  const identity = parseIdentity(text, runDir)
  const appPid = Number(readOptional(join(runDir, APP_FILE)))
  return identity && appPid > 0 ? { ...identity, appPid } : identity
}

/** How the container of `runDir` ended. Meaningful only once its init is gone. */
export function readExit(runDir: string): ProcessExit {
  const path = join(runDir, EXIT_FILE)
  const text = readOptional(path) ?? ''
  // Without the line end the write was cut short: the disk is full.
  if (!/^\d{1,3}\n$/.test(text)) return { code: 137, isRecorded: false }
  return { code: Number(text), isRecorded: true, finishedAt: statSync(path).mtimeMs }
}

function parseIdentity(text: string, runDir: string): ProcessIdentity | undefined {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof ProcessIdentity, unknown>>
    const { name, initPid, startTime, bootId: boot } = value
    if (typeof name !== 'string' || typeof boot !== 'string') return undefined
    if (typeof initPid !== 'number' || typeof startTime !== 'number') return undefined
    return { name, runDir, initPid, startTime, bootId: boot }
  } catch {
    return undefined
  }
}

/** Fields from the third (state) on; the second, in parentheses, may hold anything. */
function readStat(pid: number): string[] | undefined {
  const text = readOptional(`/proc/${pid}/stat`)
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = errorCode(error)
    // ESRCH: the process ended between open and read.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}
