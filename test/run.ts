/**
 * `npm test [-- FILTER...]`: lint and format (without a filter), then the tests whose path contains a
 * FILTER. Each file is a tap program and runs by itself; those that make namespaces one at a time, for
 * they measure, the others two at a time; those that need IPVS run in the machine at the end. In CI a
 * skipped test is a failure.
 *
 * Not `tap run`: it loads a hook into every child process, the containers of our tests included.
 */

import { spawn, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isInside, runInside } from './inside.js'
import { outcomeOf, report, type Outcome } from './outcome.js'

const testRoot = fileURLToPath(new URL('.', import.meta.url))
const projectRoot = join(testRoot, '../..')
/** For one file; the longest takes half a minute. */
const timeoutMs = 300_000
/** For one test of a file, which tap gives 30 s: those of a whole project take longer on two cores. */
const testTimeoutSeconds = '150'
/** Folders of tests that use the machine's namespaces and clocks. */
const laboratory = [
  ...['daemon', 'drivers', 'fuzz', 'kernel', 'lab', 'runtime', 'scenario', 'store'],
  ...['mesh/dataplane', 'mesh/nft', 'mesh/sandbox'],
]

function listTests(): string[] {
  return readdirSync(testRoot, { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.test.js'))
    .sort()
}

function runFile(path: string): Promise<Outcome> {
  return new Promise(resolve => {
    const startedAt = performance.now()
    const child = spawn(process.execPath, [join(testRoot, path)], {
      cwd: projectRoot,
      env: { TAP_TIMEOUT: testTimeoutSeconds, ...process.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    }
    child.on('close', code => {
      const seconds = (performance.now() - startedAt) / 1000
      resolve(outcomeOf({ path, code: code ?? undefined, output, seconds }))
    })
  })
}

async function runAll(paths: readonly string[], concurrency: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const queue = [...paths]
  const work = async (): Promise<void> => {
    for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
      const outcome = await runFile(path)
      report(outcome)
      outcomes.push(outcome)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  return outcomes
}

function lint(): void {
  const { status } = spawnSync('npm', ['run', '--silent', 'lint'], {
    cwd: projectRoot,
    stdio: 'inherit',
  })
  if (status !== 0) process.exit(status ?? 1)
}

const filters = process.argv.slice(2)
const chosen = listTests().filter(
  path => filters.length === 0 || filters.some(filter => path.includes(filter)),
)
if (chosen.length === 0) {
  process.stderr.write(`No test's path contains ${filters.map(one => `"${one}"`).join(' or ')}\n`)
  process.exit(1)
}
if (filters.length === 0) lint()
const isLaboratory = (path: string): boolean =>
  laboratory.some(folder => path.startsWith(`${folder}/`))
const outside = chosen.filter(path => !isInside(path))
const outcomes = [
  ...(await runAll(
    outside.filter(path => !isLaboratory(path)),
    2,
  )),
  ...(await runAll(outside.filter(isLaboratory), 1)),
  ...(await runInside(testRoot, chosen.filter(isInside))),
]
const sum = (pick: (outcome: Outcome) => number): number =>
  outcomes.reduce((total, outcome) => total + pick(outcome), 0)
// A file that died without a summary counts as one failure.
const failed = sum(({ failed, code }) => (code === 0 ? failed : Math.max(1, failed)))
const skipped = sum(outcome => outcome.skipped)
const isSkipRefused = process.env['CI'] !== undefined && skipped > 0
if (isSkipRefused)
  process.stdout.write('In CI nothing may be skipped; the lines above say what was\n')
const passed = sum(outcome => outcome.passed)
process.stdout.write(
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
)
process.exitCode = failed > 0 || isSkipRefused ? 1 : 0
