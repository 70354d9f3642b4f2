/** Progress of a long operation, a line an event. */

import type { ProgressEvent } from '../api/contract.js'

export function printProgress(event: ProgressEvent): void {
  if (event.kind === 'warning') process.stderr.write(`warning: ${event.message}\n`)
  else process.stdout.write(`${event.message}\n`)
}
