/** Decides whether a container that ended is started again, and when: Docker's rules. Pure. */

import type { RestartPolicy } from '../catalog/service.js'

/** What is remembered from one end to the next; `FIRST_START` to begin with. */
export interface RestartState {
  readonly restartCount: number
  /** The wait before the last restart; 0 where there was none or it has been forgiven. */
  readonly delayMs: number
}

export interface EndedRun {
  readonly exitCode: number
  readonly ranForMs: number
  /** Somebody asked for the stop. */
  readonly wasStopped: boolean
}

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number; readonly state: RestartState }
  | { readonly kind: 'stay'; readonly reason: string }

export const FIRST_START: RestartState = { restartCount: 0, delayMs: 0 }

/** moby restartmanager: 100 ms, doubled to 1 minute, forgotten after a run of 10 s. */
const FIRST_DELAY_MS = 100
const LAST_DELAY_MS = 60_000
const LONG_RUN_MS = 10_000

/** What to do now that a run has ended. */
export function decideRestart(
  policy: RestartPolicy,
  state: RestartState,
  run: EndedRun,
): RestartDecision {
  const reason = reasonToStay(policy, state, run)
  if (reason !== undefined) return { kind: 'stay', reason }
  const forgiven = run.ranForMs >= LONG_RUN_MS ? 0 : state.delayMs
  const delayMs = forgiven === 0 ? FIRST_DELAY_MS : Math.min(forgiven * 2, LAST_DELAY_MS)
  return { kind: 'restart', delayMs, state: { restartCount: state.restartCount + 1, delayMs } }
}

/** Whether a daemon that comes up starts a container that is not running. */
export function isStartedWithDaemon(policy: RestartPolicy, wasStopped: boolean): boolean {
  switch (policy.condition) {
    case 'always':
      return true
    case 'unless-stopped':
    case 'on-failure':
      return !wasStopped
    case 'no':
      return false
  }
}

function reasonToStay(
  policy: RestartPolicy,
  state: RestartState,
  run: EndedRun,
): string | undefined {
  if (run.wasStopped) return 'it was stopped on request'
  switch (policy.condition) {
    case 'no':
      return 'its restart policy is "no"'
    case 'always':
    case 'unless-stopped':
      return undefined
    case 'on-failure': {
      if (run.exitCode === 0) return 'it ended well and its restart policy is "on-failure"'
      const { maxRetries = Infinity } = policy
      if (state.restartCount < maxRetries) return undefined
      return `it failed ${maxRetries} times after its first start, the most it may`
    }
  }
}
