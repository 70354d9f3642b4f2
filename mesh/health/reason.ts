/** Says in a phrase why a probe failed, and whether it was the replica or we who could not. */

import { errorCode, errorMessage } from '../../src/base/error.js'
import type { ProbeResult } from './probe.js'

/** Errors of our own process or machine: they say nothing about the replica (errno(3)). */
const OURS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])

const PHRASES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'no route to the replica',
  ENETUNREACH: 'no route to the replica',
  EPROTO: 'not a TLS server',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not a TLS server',
  UND_ERR_HEADERS_OVERFLOW: 'HTTP headers too large',
}

const MAX_LENGTH = 200

/** The result of a probe that ended with an error. */
export function describeFailure(error: unknown): ProbeResult {
  const code = errorCode(error) ?? ''
  if (OURS.has(code)) return { kind: 'unknown', reason: `could not probe: ${code}` }
  return { kind: 'failure', reason: PHRASES[code] ?? describeOther(code, error) }
}

/** One line that fits a table. */
export function shorten(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ')
  return line.length > MAX_LENGTH ? `${line.slice(0, MAX_LENGTH - 1)}…` : line
}

function describeOther(code: string, error: unknown): string {
  if (error instanceof Error && error.name === 'HTTPParserError') return 'not an HTTP server'
  if (code === 'UND_ERR_SOCKET') return 'connection closed without an answer'
  return shorten(errorMessage(error))
}
