/** The errors of probes that a caller can act on. That a probe fails is a value, not an error. */

import { CodedError } from '../../src/base/error.js'

/** `HEALTH_BAD_PROBE`: a probe that cannot be run as written. */
export class HealthError extends CodedError<'HEALTH_BAD_PROBE'> {}
