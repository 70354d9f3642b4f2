/**
 * Remembers which destination a client was sent to. Bounded: where too many clients come, those that
 * have not been seen for longest are forgotten.
 */

/** Clients of one service that are remembered; 10 MB at most. */
export const MAX_CLIENTS = 65_536

interface Entry {
  readonly destinationId: string
  readonly expiresAt: number
}

export class AffinityTable {
  /** Least recently seen first. */
  readonly #entries = new Map<string, Entry>()
  readonly #timeoutMs: number

  constructor(timeoutSeconds: number) {
    this.#timeoutMs = timeoutSeconds * 1000
  }

  /** The destination of `client`, unless its time has passed. */
  find(client: string, now: number): string | undefined {
    const entry = this.#entries.get(client)
    return entry !== undefined && entry.expiresAt > now ? entry.destinationId : undefined
  }

  /** Counts from its latest new connection. */
  remember(client: string, destinationId: string, now: number): void {
    this.#entries.delete(client)
    this.#entries.set(client, { destinationId, expiresAt: now + this.#timeoutMs })
    if (this.#entries.size <= MAX_CLIENTS) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }
}
