/** The one error of this package: a stable `code` for programs, one sentence for people. */

/**
 * The kernel's errno by name (`EEXIST`, `ESRCH`, `ENOENT`, `EPERM`, ...), `ETIMEDOUT` where no answer
 * came, or one of our own:
 * - `IPVS_UNAVAILABLE`: this kernel has no IPVS, or the module is not loaded.
 * - `IPVS_BAD_INPUT`: refused before anything was sent.
 * - `IPVS_BAD_REPLY`: bytes that are no IPVS reply.
 * - `IPVS_STATE_UNKNOWN`: the answer to a change was lost; read what holds before trying again.
 * - `IPVS_CLOSED`: the client was closed.
 */
export type IpvsErrorCode =
  | 'IPVS_UNAVAILABLE'
  | 'IPVS_BAD_INPUT'
  | 'IPVS_BAD_REPLY'
  | 'IPVS_STATE_UNKNOWN'
  | 'IPVS_CLOSED'
  | `E${string}`

export interface IpvsErrorDetails {
  /** What was attempted: `create destination`. */
  readonly command?: string | undefined
  /** On what: `10.0.0.7:80 of tcp 10.0.0.1:80`. */
  readonly what?: string | undefined
  /** The kernel's own words, where it gave some (extended acknowledgement). */
  readonly words?: string | undefined
  readonly cause?: unknown
}

/** An error a caller can act on: `code` is stable API, `message` says what to do next. */
export class IpvsError extends Error {
  readonly code: IpvsErrorCode
  readonly command: string | undefined
  readonly what: string | undefined
  readonly words: string | undefined

  constructor(code: IpvsErrorCode, message: string, details: IpvsErrorDetails = {}) {
    super(message, details.cause === undefined ? {} : { cause: details.cause })
    this.name = 'IpvsError'
    this.code = code
    this.command = details.command
    this.what = details.what
    this.words = details.words
  }
}

/** An input that is refused before anything is sent; `sentence` names the input. */
export function badInput(sentence: string): IpvsError {
  return new IpvsError('IPVS_BAD_INPUT', sentence)
}

/** Bytes that are no IPVS reply; `sentence` says why. */
export function badReply(sentence: string): IpvsError {
  return new IpvsError('IPVS_BAD_REPLY', sentence)
}
