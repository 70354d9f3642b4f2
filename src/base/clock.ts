/** Time as an argument: deciding code takes a Clock, so that tests move time by hand. */

/** A pending call. `cancel` after it ran does nothing. */
export interface Timer {
  cancel(): void
}

/** Monotonic milliseconds, and calls after a delay. */
export interface Clock {
  /** Milliseconds since an arbitrary origin; never goes back. */
  now(): number
  /** Calls `body` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, body: () => void): Timer
}

/** The machine's clock. A step of the wall clock does not move it. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, body) {
    const timeout = setTimeout(body, delayMs)
    timeout.unref()
    return { cancel: () => clearTimeout(timeout) }
  },
}
