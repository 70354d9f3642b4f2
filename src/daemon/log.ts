/** The daemon's log: pino, one JSON line an event on standard output. */

import { pino } from 'pino'
import type { Logger } from '../base/log.js'

/** `level` is one of pino's. */
export function openLog(level: string): Logger {
  // Synchronous: the last words before a crash are the ones that matter.
  return pino({ level, base: null }, pino.destination({ fd: 1, sync: true }))
}
