/** What the host asks of the guest, and what the guest says back: one JSON text a line. */

/** One command to run in the machine. */
export interface Job {
  /** Unique in its work. */
  readonly name: string
  /** The program and its words. */
  readonly argv: readonly string[]
  /** It and what it started is killed then. */
  readonly timeoutMs: number
  /** Runs when all others are done, and nothing beside it. */
  readonly isAlone?: boolean
}

/** All that one boot does. */
export interface Work {
  /** Where the jobs run. */
  readonly folder: string
  readonly environment: Readonly<Record<string, string>>
  readonly jobs: readonly Job[]
  /** How many jobs run at a time. */
  readonly concurrency: number
}

export type Message =
  | { readonly kind: 'ready' } // the machine is up and the first job starts
  | { readonly kind: 'output'; readonly name: string; readonly text: string }
  | {
      readonly kind: 'end'
      readonly name: string
      /** Absent: it was killed. */
      readonly code?: number
      readonly seconds: number
    }

export function composeMessage(message: Message): string {
  return `${JSON.stringify(message)}\n`
}

/** The guest is our own program, so a line that is none of its messages is a fault of the channel. */
export function parseMessage(line: string): Message {
  return JSON.parse(line) as Message
}
