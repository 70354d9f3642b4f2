/**
 * Runs in the machine as the child of its process 1: does the work that the host left, and tells over a
 * virtio port. Imports next to nothing, for every module costs ten times what it does outside.
 */

import { spawn } from 'node:child_process'
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { errorCode } from '../../../src/base/error.js'
import { composeMessage, type Job, type Message, type Work } from './message.js'

const work = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Work

/** The machine has one port; without udev it goes by the kernel's name only. */
const port = openSync(`/dev/${readdirSync('/sys/class/virtio-ports')[0] ?? ''}`, 'w')

function tell(message: Message): void {
  const bytes = Buffer.from(composeMessage(message))
  for (let written = 0; written < bytes.length;) written += writeSync(port, bytes, written)
}

function run({ name, argv, timeoutMs }: Job): Promise<void> {
  return new Promise(resolve => {
    const startedAt = performance.now()
    const [program = '', ...words] = argv
    const child = spawn(program, words, {
      cwd: work.folder,
      env: { ...process.env, ...work.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: the time-out takes its children too.
      detached: true,
    })
    const output = (text: string): void => tell({ kind: 'output', name, text })
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', output)
    const timer = setTimeout(() => {
      output(`\nNot done within ${timeoutMs / 1000} s, so it was ended\n`)
      killGroup(child.pid)
      // Whoever left the group may hold them open.
      for (const stream of [child.stdout, child.stderr]) stream.destroy()
    }, timeoutMs)
    const end = (code: number | null): void => {
      clearTimeout(timer)
      const seconds = (performance.now() - startedAt) / 1000
      tell({ kind: 'end', name, seconds, ...(code === null ? {} : { code }) })
      resolve()
    }
    child.on('error', error => {
      output(`Cannot run ${program}: ${error.message}\n`)
      if (child.pid === undefined) end(127)
    })
    child.on('close', end)
  })
}

function killGroup(id: number | undefined): void {
  if (id === undefined) return
  try {
    process.kill(-id, 'SIGKILL')
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error
  }
}

const queue = work.jobs.filter(({ isAlone }) => isAlone !== true)
async function runQueue(): Promise<void> {
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) await run(job)
}

tell({ kind: 'ready' })
await Promise.all(Array.from({ length: work.concurrency }, runQueue))
for (const job of work.jobs) if (job.isAlone === true) await run(job)
