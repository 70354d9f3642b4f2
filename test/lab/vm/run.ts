/** Runs commands in the machine: one boot for all of them. */

import { fileURLToPath } from 'node:url'
import { bootMachine } from './machine.js'
import type { Job } from './message.js'
import { findEquipment } from './requirement.js'

export interface JobResult {
  readonly name: string
  /** Absent: it was killed. */
  readonly code: number | undefined
  /** What it wrote to standard output and standard error. */
  readonly output: string
  readonly seconds: number
}

export interface Command {
  /** The program and its words; it sees the files of this host. */
  readonly argv: readonly string[]
  /** For the command, without the boot. */
  readonly timeoutMs: number
  /** Hears what the command writes, as it writes it. */
  readonly onOutput?: (text: string) => void
}

/** From the start of the emulator to the first job, with much room: it takes five seconds. */
const bootTimeoutMs = 60_000
/** Of the environment of this process, what a command in the machine may know. */
const handedOn = ['CI', 'TERM', 'LANG']
const projectRoot = fileURLToPath(new URL('../../../..', import.meta.url))

/** Runs one command in a machine of its own. Throws MachineError. */
export async function runInMachine(command: Command): Promise<Omit<JobResult, 'name'>> {
  const { argv, timeoutMs, onOutput } = command
  const results: JobResult[] = []
  await runJobs([{ name: 'command', argv, timeoutMs }], {
    timeoutMs: bootTimeoutMs + timeoutMs,
    ...(onOutput === undefined ? {} : { onOutput }),
    onEnd: result => results.push(result),
  })
  const [result] = results
  if (result === undefined) throw new TypeError('The machine ended well and without a result')
  return result
}

/**
 * Runs `jobs` in one machine; each that ends is told at once. Throws MachineError, and before that
 * tells of each job that did not end, with what it wrote so far.
 */
export async function runJobs(
  jobs: readonly Job[],
  options: {
    /** For all together, with the boot. */
    readonly timeoutMs: number
    /** How many jobs at a time, default 1. */
    readonly concurrency?: number
    /** What the jobs find in their environment besides PATH and HOME. */
    readonly environment?: Readonly<Record<string, string>>
    readonly onOutput?: (text: string, name: string) => void
    readonly onEnd: (result: JobResult) => void
  },
): Promise<void> {
  const equipment = findEquipment()
  if (typeof equipment === 'string') throw new Error(`Cannot start the machine: ${equipment}`)
  const outputs = new Map<string, string>()
  const work = {
    folder: projectRoot,
    environment: {
      ...Object.fromEntries(handedOn.flatMap(name => entryOf(name))),
      ...options.environment,
    },
    jobs,
    concurrency: options.concurrency ?? 1,
  }
  const pending = new Set(jobs.map(({ name }) => name))
  const end = (name: string, code: number | undefined, seconds: number): void => {
    pending.delete(name)
    options.onEnd({ name, code, seconds, output: outputs.get(name) ?? '' })
  }
  try {
    await bootMachine(equipment, work, options.timeoutMs, message => {
      if (message.kind === 'output') {
        const { name, text } = message
        outputs.set(name, (outputs.get(name) ?? '') + text)
        options.onOutput?.(text, name)
      } else if (message.kind === 'end') {
        end(message.name, message.code, message.seconds)
      }
    })
  } finally {
    for (const name of pending) end(name, undefined, 0)
  }
}

function entryOf(name: string): [string, string][] {
  const value = process.env[name]
  return value === undefined ? [] : [[name, value]]
}
