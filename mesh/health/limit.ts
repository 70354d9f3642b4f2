/** Bounds how many probes run at a time, over all replicas. */

import type { Probe } from './probe.js'

/** Descriptors in use at a time at the most. With 1,000 replicas that hang, the rest wait their turn. */
const DEFAULT_MAX_RUNNING = 256

export class ProbeLimit {
  readonly #maxRunning: number
  /** In order of arrival; a Set, so that one who gives up leaves at once. */
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(maxRunning = DEFAULT_MAX_RUNNING) {
    this.#maxRunning = maxRunning
  }

  get running(): number {
    return this.#running
  }

  /** `probe`, but begun only when there is room. Waiting does not count to its time-out. */
  limit(probe: Probe): Probe {
    return async signal => {
      if (this.#running < this.#maxRunning) this.#running++
      else if (!(await this.#queue(signal))) return { kind: 'unknown', reason: 'cancelled' }
      try {
        return await probe(signal)
      } finally {
        this.#release()
      }
    }
  }

  /** False where the signal ended first. */
  #queue(signal: AbortSignal): Promise<boolean> {
    return new Promise(resolve => {
      if (signal.aborted) return resolve(false)
      const enter = (): void => {
        signal.removeEventListener('abort', leave)
        resolve(true)
      }
      const leave = (): void => {
        this.#waiting.delete(enter)
        resolve(false)
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiting.add(enter)
    })
  }

  /** Hands the place on, so that nobody takes it between two turns of the event loop. */
  #release(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#running--
      return
    }
    this.#waiting.delete(next)
    next()
  }
}
