/** The daemon's log: pino, one JSON line an event on standard output. */

import { pino, levels } from 'pino'
import { CodedError } from '../base/error.js'
import type { Logger } from '../base/log.js'

export class LogError extends CodedError<'LOG_BAD_LEVEL'> {}

/** Throws LogError for a level that there is not. */
export function openLog(level: string): Logger {
  if (!(level in levels.values)) {
    const known = Object.keys(levels.values).join(', ')
    throw new LogError('LOG_BAD_LEVEL', `--log-level "${level}" is none of ${known}`)
  }
  // Synchronous: the last words before a crash are the ones that matter.
  return pino({ level, base: null }, pino.destination({ fd: 1, sync: true }))
}
