/** One body at a time, in the order of asking. */

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `body` when every earlier one has settled; one that fails does not stop the next. */
  run<T>(body: () => Promise<T>): Promise<T> {
    const next = this.#last.then(body, body)
    this.#last = next.catch(() => undefined)
    return next
  }
}

/** At most `limit` bodies at a time. */
export class Semaphore {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.#free = limit
  }

  async run<T>(body: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await body()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
