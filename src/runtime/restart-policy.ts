/** Decides whether a container that ended is started again, and when: Docker's rules. Pure. */

import { RuntimeError } from './error.js'

export type RestartPolicy =
  | { readonly kind: 'no' }
  | { readonly kind: 'always' }
  | { readonly kind: 'unless-stopped' }
  | { readonly kind: 'on-failure'; readonly maximumRetries?: number } // absent: without limit

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

/**
 * Parses Compose's `restart`: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
 * Throws RuntimeError `RUNTIME_BAD_SPECIFICATION`.
 */
export function parseRestartPolicy(text: string): RestartPolicy {
  if (text === '' || text === 'no') return { kind: 'no' }
  if (text === 'always' || text === 'unless-stopped') return { kind: text }
  const match = /^on-failure(?::(\d{1,9}))?$/.exec(text)
  if (!match) {
    throw new RuntimeError(
      'RUNTIME_BAD_SPECIFICATION',
      `Cannot use the restart policy "${text}": it must be no, always, unless-stopped, on-failure ` +
        'or on-failure:N',
    )
  }
  // Docker reads 0 as "no limit".
  const maximumRetries = Number(match[1] ?? 0)
  return maximumRetries === 0 ? { kind: 'on-failure' } : { kind: 'on-failure', maximumRetries }
}

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
  switch (policy.kind) {
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
  switch (policy.kind) {
    case 'no':
      return 'its restart policy is "no"'
    case 'always':
    case 'unless-stopped':
      return undefined
    case 'on-failure': {
      if (run.exitCode === 0) return 'it ended well and its restart policy is "on-failure"'
      const { maximumRetries = Infinity } = policy
      if (state.restartCount < maximumRetries) return undefined
      return `it failed ${maximumRetries} times after its first start, the most it may`
    }
  }
}
