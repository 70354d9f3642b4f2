/** What is wrong with a Compose file, in sentences that carry file, line and key. */

import { CodedError } from '../../base/error.js'

/** `COMPOSE_SYNTAX`: not YAML. `COMPOSE_INVALID`: YAML, but not a project that can be brought up. */
export type ComposeErrorCode = 'COMPOSE_SYNTAX' | 'COMPOSE_INVALID'

/** A refused Compose file. The message is the first of `problems`, and how many follow. */
export class ComposeError extends CodedError<ComposeErrorCode> {
  /** Every problem found, each one sentence, in the order of the files and their lines. */
  readonly problems: readonly string[]

  constructor(code: ComposeErrorCode, problems: readonly string[], options?: ErrorOptions) {
    const more = problems.length - 1
    super(code, `${problems[0] ?? 'bad file'}${more > 0 ? ` (and ${more} more)` : ''}`, options)
    this.problems = problems
  }
}
