/**
 * Decides from failed connects which destinations to leave out for a while. For a dataplane that
 * connects itself and so learns of a failure before any probe. Pure: time is an argument.
 */

export interface EjectionPolicy {
  /** Failed connects in a row that eject. */
  readonly failures: number
  /** The first ejection; each one without a success in between doubles it. */
  readonly firstMs: number
  readonly maxMs: number
}

export const DEFAULT_EJECTION: EjectionPolicy = { failures: 3, firstMs: 10_000, maxMs: 60_000 }

interface Failures {
  streak: number
  ejections: number
  until: number
}

/** What connects said of each destination, by its id. Nothing is kept of one that does well. */
export class Ejections {
  readonly #policy: EjectionPolicy
  readonly #records = new Map<string, Failures>()

  constructor(policy: EjectionPolicy = DEFAULT_EJECTION) {
    this.#policy = policy
  }

  /** Destinations with failures since their last success. */
  get size(): number {
    return this.#records.size
  }

  /** Returns true where this failure ejects `id`. */
  noteFailure(id: string, now: number): boolean {
    const { failures, firstMs, maxMs } = this.#policy
    const record = this.#records.get(id) ?? { streak: 0, ejections: 0, until: -Infinity }
    this.#records.set(id, record)
    record.streak++
    // A connect begun before the ejection, or because all were ejected, is no new judgement.
    if (record.streak < failures || now < record.until) return false
    record.until = now + Math.min(maxMs, firstMs * 2 ** Math.min(record.ejections, 30))
    record.ejections++
    return true
  }

  /** Forgets all failures of `id`, and ends its ejection. */
  noteSuccess(id: string): void {
    this.#records.delete(id)
  }

  /** Clock milliseconds at which `id` is back, or undefined where it is not ejected. */
  ejectedUntil(id: string, now: number): number | undefined {
    const until = this.#records.get(id)?.until ?? -Infinity
    return now < until ? until : undefined
  }

  /** The destinations to choose from: those not ejected, or all where nobody would be left. */
  filter<Destination extends { readonly id: string }>(
    destinations: readonly Destination[],
    now: number,
  ): readonly Destination[] {
    if (this.#records.size === 0) return destinations
    const left = destinations.filter(({ id }) => this.ejectedUntil(id, now) === undefined)
    return left.length > 0 ? left : destinations
  }

  /** Forgets destinations that are no more. */
  retain(ids: ReadonlySet<string>): void {
    for (const id of this.#records.keys()) if (!ids.has(id)) this.#records.delete(id)
  }
}
