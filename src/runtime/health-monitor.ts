/** Runs the probes of one container in time, one after the other, and tells its health. */

import type { Clock, Timer } from '../base/clock.js'
import { errorMessage } from '../base/error.js'
import { applyProbe, NEW_HEALTH, nextProbeDelay } from './health.js'
import type { Healthcheck } from '../catalog/service.js'
import type { Health, ProbeResult } from './health.js'

/** `code` undefined: the time was up. Rejects where the probe could not run. */
export type Probe = (
  argv: readonly string[],
  timeoutMs: number,
) => Promise<{ readonly code: number | undefined; readonly output: string }>

export interface HealthMonitorOptions {
  readonly check: Healthcheck
  readonly probe: Probe
  readonly clock: Clock
  /** Every result; `before` is the health it found, to tell a change of status. */
  readonly onResult: (health: Health, before: Health) => void
  /** What an earlier daemon knew of this very run, and how long the run has lasted. */
  readonly known?: { readonly health: Health; readonly runningForMs: number }
}

/** Probes from its making until `close`. One probe at a time, whatever the interval. */
export class HealthMonitor {
  readonly #options: HealthMonitorOptions
  readonly #startedAt: number
  #health: Health
  #timer: Timer | undefined
  #isClosed = false

  constructor(options: HealthMonitorOptions) {
    this.#options = options
    this.#health = options.known?.health ?? NEW_HEALTH
    this.#startedAt = options.clock.now() - (options.known?.runningForMs ?? 0)
    this.#schedule()
  }

  get health(): Health {
    return this.#health
  }

  /** No result is told after this, not even of a probe that is under way. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #schedule(): void {
    const { check, clock } = this.#options
    const delay = nextProbeDelay(check, this.#health, clock.now() - this.#startedAt)
    this.#timer = clock.after(delay, () => void this.#run())
  }

  async #run(): Promise<void> {
    const { check, clock, onResult } = this.#options
    const startedAt = clock.now()
    const outcome = await this.#probe()
    if (this.#isClosed) return
    const result: ProbeResult = { ...outcome, startedAt, endedAt: clock.now() }
    const before = this.#health
    this.#health = applyProbe(check, before, result, startedAt - this.#startedAt)
    this.#schedule()
    onResult(this.#health, before)
  }

  async #probe(): Promise<Pick<ProbeResult, 'exitCode' | 'output'>> {
    const { check, probe } = this.#options
    try {
      const { code, output } = await probe(check.argv, check.timeoutMs)
      if (code !== undefined) return { exitCode: code, output }
      const sentence = `Health check exceeded timeout (${check.timeoutMs / 1000}s)`
      return { exitCode: -1, output: output === '' ? sentence : `${sentence}: ${output}` }
    } catch (error) {
      return { exitCode: -1, output: errorMessage(error) }
    }
  }
}
