/** A clock that only moves when told. */

import type { Clock, Timer } from '../../../src/base/clock.js'

export class ManualClock implements Clock {
  #now = 1000
  #timers: { readonly at: number; readonly body: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(delayMs: number, body: () => void): Timer {
    const timer = { at: this.#now + delayMs, body }
    this.#timers.push(timer)
    return { cancel: () => (this.#timers = this.#timers.filter(other => other !== timer)) }
  }

  /** Moves by `ms`, running what falls due in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.sort((a, b) => a.at - b.at)[0]
      if (next === undefined || next.at > end) break
      this.#timers.shift()
      this.#now = next.at
      next.body()
    }
    this.#now = end
  }
}
