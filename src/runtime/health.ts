/** Docker's healthcheck as data: what to run, when, and what its results mean. Pure. */

/** Defaults filled in; durations in milliseconds. */
export interface Healthcheck {
  /** The words to run; `CMD-SHELL` text goes through /bin/sh. */
  readonly command: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Failures in a row that make it unhealthy; at least 1. */
  readonly retries: number
  /** Failures in this first while of a container that was never healthy do not count. */
  readonly startPeriodMs: number
  /** The interval during the start period. */
  readonly startIntervalMs: number
}

/** As Compose and the Docker API write it; 0 and absent mean the default. */
export interface HealthcheckDeclaration {
  /** `['NONE']`, `['CMD', ...words]`, `['CMD-SHELL', text]`, or text for the shell. */
  readonly test?: string | readonly string[]
  readonly intervalMs?: number
  readonly timeoutMs?: number
  readonly retries?: number
  readonly startPeriodMs?: number
  readonly startIntervalMs?: number
  readonly disable?: boolean
}

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

/** moby daemon/health.go. */
const DEFAULTS = { intervalMs: 30_000, timeoutMs: 30_000, retries: 3, startIntervalMs: 5_000 }
const KEPT_RESULTS = 5

/** Fills in the defaults; undefined where there is nothing to check. */
export function readHealthcheck(declaration: HealthcheckDeclaration): Healthcheck | undefined {
  const command = declaration.disable ? undefined : readCommand(declaration.test)
  if (command === undefined) return undefined
  const or = (key: keyof typeof DEFAULTS): number => {
    const value = declaration[key] ?? 0
    return value > 0 ? value : DEFAULTS[key]
  }
  return {
    command,
    intervalMs: or('intervalMs'),
    timeoutMs: or('timeoutMs'),
    retries: or('retries'),
    startPeriodMs: Math.max(0, declaration.startPeriodMs ?? 0),
    startIntervalMs: or('startIntervalMs'),
  }
}

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

function readCommand(test: HealthcheckDeclaration['test']): readonly string[] | undefined {
  if (test === undefined) return undefined
  if (typeof test === 'string') return test === '' ? undefined : shell(test)
  const [kind, ...words] = test
  switch (kind) {
    case 'CMD':
      return words.length === 0 ? undefined : words
    case 'CMD-SHELL':
      return words[0] === undefined ? undefined : shell(words[0])
    default: // NONE, an empty list, and words whose kind is missing: Docker runs nothing
      return undefined
  }
}

function shell(text: string): readonly string[] {
  return ['/bin/sh', '-c', text]
}
