/** The time-out of one probe, and how durations are said. */

import type { Probe, ProbeResult } from './probe.js'

/** How far a probe has come, for what its time-out means. */
export interface Progress {
  /** Completes "timed out after 1 s". */
  stage: string
  /** The result, where it is known and the probe only tidies up. */
  result: ProbeResult | undefined
}

/**
 * Runs `attempt` with a signal that ends with the caller's or at the time-out, and says which. Does not
 * wait for an attempt that ignores its signal.
 */
export function withinTime(
  timeoutMs: number,
  attempt: (signal: AbortSignal, progress: Progress) => Promise<ProbeResult>,
): Probe {
  return outer =>
    new Promise((resolve, reject) => {
      const own = new AbortController()
      const progress: Progress = { stage: '', result: undefined }
      const end = (result: ProbeResult): void => {
        clearTimeout(timer)
        outer.removeEventListener('abort', onCancel)
        resolve(result)
        own.abort()
      }
      const onCancel = (): void => end({ kind: 'unknown', reason: 'cancelled' })
      const timer = setTimeout(() => {
        const reason = `timed out after ${formatDuration(timeoutMs)} ${progress.stage}`.trimEnd()
        end(progress.result ?? { kind: 'failure', reason })
      }, timeoutMs)
      if (outer.aborted) return onCancel()
      outer.addEventListener('abort', onCancel, { once: true })
      attempt(own.signal, progress).then(end, reject)
    })
}

/** `1 s`, `1.5 s`, `300 ms`. */
export function formatDuration(milliseconds: number): string {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${milliseconds / 1000} s`
}
