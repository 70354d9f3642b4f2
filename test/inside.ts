/**
 * Test files that need a kernel with IPVS: those below a folder named `ipvs-kernel`. All of them run
 * in one boot of the machine (test/lab/vm), and each has an outcome like any other file.
 */

import { join } from 'node:path'
import { errorMessage } from '../src/base/error.js'
import { findEquipment, MachineError, runJobs } from './lab/vm/index.js'
import { outcomeOf, report, type Outcome } from './outcome.js'

const folderName = 'ipvs-kernel'
/** For all files with the boot; leave room below what CI gives to everything. */
const timeoutMs = 600_000
const fileTimeoutMs = 420_000
/** For one test of a file, which tap gives 30 s elsewhere: JavaScript runs ten times slower there. */
const testTimeoutSeconds = 400
/** They change nothing but namespaces of their own, and most of a short file is loading tap. */
const concurrency = 2

/** Whether the file at `path`, relative to the tests' root, runs in the machine. */
export function isInside(path: string): boolean {
  return path.split('/').slice(0, -1).includes(folderName)
}

/** Runs and reports `paths`. Without the machine each is skipped, and one line says why. */
export async function runInside(testRoot: string, paths: readonly string[]): Promise<Outcome[]> {
  if (paths.length === 0) return []
  const equipment = findEquipment()
  if (typeof equipment === 'string') {
    process.stdout.write(`skipped ${paths.join(', ')}: ${equipment}\n`)
    const skipped = { code: 0, output: '', seconds: 0, passed: 0, failed: 0, skipped: 1 }
    return paths.map(path => ({ path, ...skipped }))
  }
  const outcomes: Outcome[] = []
  const jobs = paths.map(path => ({
    name: path,
    argv: [process.execPath, join(testRoot, path)],
    timeoutMs: fileTimeoutMs,
    // Such as one that takes IPVS out of the kernel.
    isAlone: path.endsWith('.alone.test.js'),
  }))
  try {
    await runJobs(jobs, {
      timeoutMs,
      concurrency,
      environment: { TAP_TIMEOUT: String(testTimeoutSeconds) },
      onEnd: ({ name, ...ended }) => {
        const outcome = outcomeOf({ path: name, ...ended })
        report(outcome)
        outcomes.push(outcome)
      },
    })
  } catch (error) {
    if (!(error instanceof MachineError)) throw error
    process.stdout.write(`${errorMessage(error)}\n`)
  }
  return outcomes
}
