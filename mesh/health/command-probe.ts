/** Whether a command in the replica ends with 0. How commands are run there is handed in. */

import { formatDuration, withinTime } from './deadline.js'
import { HealthError } from './error.js'
import { timingOf, type CommandProbeSpec, type Probe, type ProbeResult } from './probe.js'
import { describeFailure, shorten } from './reason.js'

/**
 * Runs `argv` in the replica and kills it after `timeoutMs`, or when the signal ends where it can. `code`
 * undefined: it was killed for the time. Rejects where it could not be run.
 */
export type CommandRunner = (
  argv: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<{ readonly code: number | undefined; readonly output: string }>

/** For the runner to kill and to collect; after that the probe has failed without it. */
const KILL_GRACE_MS = 1000

/** Throws HealthError `HEALTH_BAD_PROBE`. */
export function commandProbe(spec: CommandProbeSpec, run: CommandRunner): Probe {
  const { timeoutMs } = timingOf(spec)
  if (spec.argv.length === 0) {
    throw new HealthError('HEALTH_BAD_PROBE', 'A command probe without words cannot run; name one')
  }
  return withinTime(timeoutMs + KILL_GRACE_MS, async signal => {
    try {
      const { code, output } = await run(spec.argv, timeoutMs, signal)
      return judge(code, output, timeoutMs)
    } catch (error) {
      return describeFailure(error)
    }
  })
}

function judge(code: number | undefined, output: string, timeoutMs: number): ProbeResult {
  if (code === 0) return { kind: 'success' }
  const what =
    code === undefined ? `timed out after ${formatDuration(timeoutMs)}` : `exit code ${code}`
  // The last line is where a command says what went wrong.
  const said = shorten(output.trimEnd().split('\n').at(-1) ?? '')
  return { kind: 'failure', reason: said === '' ? what : `${what}: ${said}` }
}
