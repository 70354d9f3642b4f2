/** Docker's healthcheck as data: what to run, when, and what its results mean. Pure. */

import type { Healthcheck } from '../catalog/service.js'

export type HealthStatus = 'starting' | 'healthy' | 'unhealthy'

export interface ProbeResult {
  /** 0 is success; -1 is a probe that ran out of time or could not run. */
  readonly exitCode: number
  readonly output: string
  /** Clock milliseconds. */
  readonly startedAt: number
  readonly endedAt: number
}

/** The state of one run of a container. */
export interface Health {
  readonly status: HealthStatus
  readonly failingStreak: number
  /** The last five, oldest first. */
  readonly results: readonly ProbeResult[]
}

export const NEW_HEALTH: Health = { status: 'starting', failingStreak: 0, results: [] }

const KEPT_RESULTS = 5

/** Milliseconds until the next probe, counted from the end of the last one or from the start. */
export function nextProbeDelay(check: Healthcheck, health: Health, runningForMs: number): number {
  const isStarting = runningForMs < check.startPeriodMs && health.status === 'starting'
  return isStarting ? check.startIntervalMs : check.intervalMs
}

/** The health after `result`, of a probe begun `runningForMs` after the container's start. */
export function applyProbe(
  check: Healthcheck,
  health: Health,
  result: ProbeResult,
  runningForMs: number,
): Health {
  const results = [...health.results, result].slice(-KEPT_RESULTS)
  if (result.exitCode === 0) return { status: 'healthy', failingStreak: 0, results }
  // Only a container that was never healthy is given its start period.
  if (health.status === 'starting' && runningForMs < check.startPeriodMs) {
    return { ...health, results }
  }
  const failingStreak = health.failingStreak + 1
  const status = failingStreak >= check.retries ? 'unhealthy' : health.status
  return { status, failingStreak, results }
}
