/** Health checks: what to run, how often, and how many failures make a container unhealthy. */

import type { Healthcheck } from '../../catalog/service.js'
import { shorten } from './name.js'
import type { Place } from './report.js'
import type { DeclaredService } from './schema.js'

/** Docker's defaults (HEALTHCHECK in the Dockerfile reference); a declared 0 means them too. */
const DEFAULTS = {
  intervalMs: 30_000,
  timeoutMs: 30_000,
  retries: 3,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
}

/** The health check of a service, or undefined where it has none. */
export function resolveHealthcheck(
  declared: DeclaredService['healthcheck'],
  place: Place,
): Healthcheck | undefined {
  if (declared === undefined || declared.disable === true) return undefined
  const argv = resolveTest(declared.test, place)
  if (argv === undefined) return undefined
  return {
    argv,
    intervalMs: declared.interval || DEFAULTS.intervalMs,
    timeoutMs: declared.timeout || DEFAULTS.timeoutMs,
    retries: declared.retries || DEFAULTS.retries,
    startPeriodMs: declared.start_period ?? DEFAULTS.startPeriodMs,
    startIntervalMs: declared.start_interval || DEFAULTS.startIntervalMs,
  }
}

function resolveTest(
  test: string | readonly string[] | undefined,
  place: Place,
): readonly string[] | undefined {
  if (test === undefined) {
    place.missing('needs a test, since there is no image to take one from')
    return undefined
  }
  const [kind = '', ...rest] = typeof test === 'string' ? ['CMD-SHELL', test] : test
  if (kind === 'NONE') return undefined
  if (kind !== 'CMD' && kind !== 'CMD-SHELL') {
    place
      .at('test')
      .problem(`must begin with CMD, CMD-SHELL or NONE${kind && `, not "${shorten(kind)}"`}`)
    return undefined
  }
  if (!rest[0]?.trim()) {
    place.at('test').problem('names no command to run')
    return undefined
  }
  return kind === 'CMD' ? rest : ['/bin/sh', '-c', ...rest]
}
