/**
 * What a readiness probe is: what to ask a replica, how often, and what the answer can be. Readiness
 * is apart from liveness: a replica that is not ready gets no traffic and is otherwise left alone.
 */

import { HealthError } from './error.js'

/** When to probe and how many results decide. Milliseconds. */
export interface ProbeTiming {
  /** From the start of one probe to the start of the next. */
  readonly intervalMs: number
  /** A probe without an answer by then has failed. */
  readonly timeoutMs: number
  /** Successes in a row that bring a replica back. The first one ever brings it in. */
  readonly rise: number
  /** Failures in a row that take a replica out. */
  readonly fall: number
  /** The interval until the first success, so that a fresh replica joins soon. */
  readonly startIntervalMs: number
  /** For how long the start interval holds at most. */
  readonly startPeriodMs: number
  /** How long a change is held before the next is told: the bound on what flapping costs. */
  readonly holdMs: number
}

export const DEFAULT_TIMING: ProbeTiming = {
  intervalMs: 1000,
  timeoutMs: 1000,
  rise: 2,
  fall: 2,
  startIntervalMs: 100,
  startPeriodMs: 30_000,
  holdMs: 1000,
}

/**
 * Connects and hangs up. It tells a server that is gone from one that is there, and no more: the
 * kernel accepts for a process that is frozen.
 */
export interface TcpProbeSpec extends Partial<ProbeTiming> {
  readonly kind: 'tcp'
  readonly port: number
}

export interface HttpProbeSpec extends Partial<ProbeTiming> {
  readonly kind: 'http'
  readonly port: number
  /** With its query; begins with `/`. */
  readonly path: string
  /** The Host header, and the name a TLS server is asked for. Default: the replica's address. */
  readonly host?: string
  /** What counts as success. Default 200 to 399; a redirect is not followed. */
  readonly status?: { readonly from: number; readonly to: number }
  /** Default GET. */
  readonly method?: 'GET' | 'HEAD'
  /** Default false. The certificate is not verified: whom we ask is known by address. */
  readonly isTls?: boolean
}

/** Runs a command in the replica; exit code 0 is success. */
export interface CommandProbeSpec extends Partial<ProbeTiming> {
  readonly kind: 'command'
  readonly argv: readonly string[]
}

export type ProbeSpec = TcpProbeSpec | HttpProbeSpec | CommandProbeSpec

/** What one probe said. `reason` completes "not ready:". */
export type ProbeResult =
  | { readonly kind: 'success' }
  | { readonly kind: 'failure'; readonly reason: string }
  /** We could not ask (out of descriptors, or cancelled). It says nothing about the replica. */
  | { readonly kind: 'unknown'; readonly reason: string }

/** Asks one replica once, within its own time-out. Does not reject; ends soon after the signal does. */
export type Probe = (signal: AbortSignal) => Promise<ProbeResult>

/** Each number of a timing with its least and greatest value. A Node timer waits 2^31-1 ms at most. */
const BOUNDS: { readonly [Name in keyof ProbeTiming]: readonly [number, number] } = {
  intervalMs: [10, 2 ** 31 - 1],
  timeoutMs: [1, 2 ** 31 - 1],
  rise: [1, 1000],
  fall: [1, 1000],
  startIntervalMs: [10, 2 ** 31 - 1],
  startPeriodMs: [0, 2 ** 31 - 1],
  holdMs: [0, 2 ** 31 - 1],
}

/** The timing of a probe, with defaults filled in. Throws HealthError `HEALTH_BAD_PROBE`. */
export function timingOf(spec: Partial<ProbeTiming>): ProbeTiming {
  const number = (name: keyof ProbeTiming): number => {
    const value = spec[name] ?? DEFAULT_TIMING[name]
    const [least, greatest] = BOUNDS[name]
    if (Number.isInteger(value) && value >= least && value <= greatest) return value
    throw new HealthError(
      'HEALTH_BAD_PROBE',
      `A probe cannot have ${name} ${value}; give a whole number from ${least} to ${greatest}`,
    )
  }
  return {
    intervalMs: number('intervalMs'),
    timeoutMs: number('timeoutMs'),
    rise: number('rise'),
    fall: number('fall'),
    startIntervalMs: number('startIntervalMs'),
    startPeriodMs: number('startPeriodMs'),
    holdMs: number('holdMs'),
  }
}
