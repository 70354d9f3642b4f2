/** Probes one replica in time, one probe after the other, and tells when its readiness changes. */

import type { Clock, Timer } from '../../src/base/clock.js'
import { errorMessage } from '../../src/base/error.js'
import { timingOf, type Probe, type ProbeResult, type ProbeTiming } from './probe.js'
import {
  freshThreshold,
  knownThreshold,
  settle,
  settlesAt,
  weigh,
  type Evidence,
  type Readiness,
  type Threshold,
} from './threshold.js'

export interface ReadinessMonitorOptions {
  readonly probe: Probe
  /** A ProbeSpec is one. What is absent is the default. */
  readonly timing: Partial<ProbeTiming>
  readonly clock: Clock
  /** Only changes of `isReady`. A fresh replica begins unready, and a known one as known, untold. */
  readonly onChange: (readiness: Readiness) => void
  /** What an earlier daemon knew of this replica, so that a restart makes nobody unready. */
  readonly known?: { readonly isReady: boolean }
  /** In [0, 1), for the delay of the first probe. Default Math.random. */
  readonly random?: () => number
}

/** Probes from its making until `close`. Throws HealthError `HEALTH_BAD_PROBE` for its timing. */
export class ReadinessMonitor {
  readonly #options: ReadinessMonitorOptions
  readonly #timing: ProbeTiming
  readonly #startedAt: number
  #threshold: Threshold
  #nextProbe: Timer | undefined
  #holdEnd: Timer | undefined
  /** Of the probe in flight. */
  #abort: AbortController | undefined
  #isClosed = false

  constructor(options: ReadinessMonitorOptions) {
    const { clock, known, random = Math.random } = options
    this.#options = options
    this.#timing = timingOf(options.timing)
    this.#startedAt = clock.now()
    this.#threshold =
      known === undefined
        ? freshThreshold(this.#startedAt)
        : knownThreshold(known.isReady, this.#startedAt)
    // Replicas that start together, or are adopted together, do not probe in one tick.
    this.#schedule(random() * this.#interval())
  }

  /** As told; the reason is the latest one. */
  get readiness(): Readiness {
    return this.#threshold.told
  }

  /** The replica's process is gone: unready at once. A probe in flight is dropped. */
  noteGone(reason: string): void {
    if (this.#isClosed) return
    this.#cancelProbe()
    this.#schedule(this.#timing.intervalMs)
    this.#weigh({ kind: 'gone', reason })
  }

  /** Ends timers and the probe in flight. Nothing is told after this. */
  close(): void {
    this.#isClosed = true
    this.#holdEnd?.cancel()
    this.#cancelProbe()
  }

  #cancelProbe(): void {
    this.#nextProbe?.cancel()
    this.#abort?.abort()
    this.#abort = undefined
  }

  #schedule(delayMs: number): void {
    this.#nextProbe = this.#options.clock.after(delayMs, () => void this.#probe())
  }

  async #probe(): Promise<void> {
    const { clock } = this.#options
    const startedAt = clock.now()
    const abort = new AbortController()
    this.#abort = abort
    const result = await this.#run(abort.signal)
    // Cancelled: whoever did it has decided what comes next.
    if (this.#abort !== abort) return
    this.#abort = undefined
    const before = this.#threshold
    this.#threshold = weigh(this.#timing, before, result, clock.now())
    this.#schedule(Math.max(0, startedAt + this.#interval() - clock.now()))
    this.#tell(before)
  }

  async #run(signal: AbortSignal): Promise<ProbeResult> {
    try {
      return await this.#options.probe(signal)
    } catch (error) {
      return { kind: 'failure', reason: errorMessage(error) }
    }
  }

  #interval(): number {
    const { startPeriodMs, startIntervalMs, intervalMs } = this.#timing
    const age = this.#options.clock.now() - this.#startedAt
    const isStarting = !this.#threshold.hasBeenReady && age < startPeriodMs
    return isStarting ? Math.min(startIntervalMs, intervalMs) : intervalMs
  }

  #weigh(evidence: Evidence): void {
    const before = this.#threshold
    this.#threshold = weigh(this.#timing, before, evidence, this.#options.clock.now())
    this.#tell(before)
  }

  /** Tells what changed since `before`, or waits until it may. Last, as the listener may close. */
  #tell(before: Threshold): void {
    const { clock, onChange } = this.#options
    this.#holdEnd?.cancel()
    const at = settlesAt(this.#threshold)
    this.#holdEnd = at === undefined ? undefined : clock.after(at - clock.now(), this.#settle)
    if (this.#threshold.told.isReady !== before.told.isReady) onChange(this.#threshold.told)
  }

  readonly #settle = (): void => {
    const before = this.#threshold
    this.#threshold = settle(this.#timing, before, this.#options.clock.now())
    this.#tell(before)
  }
}
