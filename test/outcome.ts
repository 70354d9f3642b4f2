/** What became of one test file, read from the TAP text that it wrote, and how it is shown. */

export interface Outcome {
  readonly path: string
  /** Absent: it was killed. */
  readonly code: number | undefined
  readonly output: string
  readonly seconds: number
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Counts results by the summary that tap prints last: `# { total: 9, pass: 7, fail: 1, skip: 1 }`. */
export function outcomeOf(ended: Pick<Outcome, 'path' | 'code' | 'output' | 'seconds'>): Outcome {
  const summary = ended.output.slice(ended.output.lastIndexOf('\n# { total:'))
  const of = (word: string): number => Number(new RegExp(`${word}: (\\d+)`).exec(summary)?.[1] ?? 0)
  return { ...ended, passed: of('pass'), failed: of('fail'), skipped: of('skip') }
}

/** Prints one line, and what was skipped or failed below it. */
export function report(outcome: Outcome): void {
  const { path, code, output, seconds, passed, skipped } = outcome
  const skips = skipped > 0 ? `, ${skipped} skipped` : ''
  const verdict = code === 0 ? 'ok    ' : 'FAILED'
  process.stdout.write(`${verdict} ${path} (${passed} passed${skips}, ${seconds.toFixed(1)} s)\n`)
  for (const line of skipsOf(output)) process.stdout.write(`       ${line.trim()}\n`)
  if (code !== 0) process.stdout.write(`${failuresOf(output)}\n`)
}

/** The failed tests with what tap says about them, without the passed ones. */
function failuresOf(output: string): string {
  const lines = output.split('\n')
  const isEnd = (line: string): boolean => /^\s*(ok \d|# Subtest|1\.\.\d|TAP version)/.test(line)
  const kept: string[] = []
  let isKept = false
  for (const line of lines) {
    if (/^\s*not ok /.test(line)) isKept = true
    else if (isEnd(line)) isKept = false
    if (isKept) kept.push(line)
  }
  return kept.length > 0 ? kept.join('\n') : lines.slice(-40).join('\n')
}

function skipsOf(output: string): string[] {
  return output.split('\n').filter(line => /^\s*ok .*# skip/i.test(line))
}
