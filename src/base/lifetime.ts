/** Closing in reverse order of opening, once, whatever fails on the way. */

/** Collects what has to be closed. Not reusable after `close`. */
export class Lifetime {
  readonly #closers: (() => void | Promise<void>)[] = []
  #closing: Promise<void> | undefined

  /** Runs `closer` when the lifetime ends, before everything deferred earlier. */
  defer(closer: () => void | Promise<void>): void {
    this.#closers.push(closer)
  }

  /** Ends the lifetime. Every closer runs; rejects with the first error when all have. */
  close(): Promise<void> {
    this.#closing ??= this.#run()
    return this.#closing
  }

  async #run(): Promise<void> {
    const failures: unknown[] = []
    for (let closer = this.#closers.pop(); closer; closer = this.#closers.pop()) {
      try {
        await closer()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
