/** The one error shape of the project: a stable `code` for programs, one sentence for people. */

/** An error a caller can act on: `code` is stable API, `message` says what to do next. */
export class CodedError<Code extends string> extends Error {
  readonly code: Code

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** The sentence of anything thrown: the message of an Error, the text of the rest. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The `code` of anything thrown, ours or Node's (`ENOENT`), or undefined where it has none. */
export function errorCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}
