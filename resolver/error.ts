/** The errors of this library that a caller can act on. Expected outcomes (NXDOMAIN) are values. */

import { CodedError } from '../src/base/error.js'

/**
 * `NAME_INVALID`: a name that no DNS message can carry. `MESSAGE_INVALID`: bytes that are no
 * whole DNS message.
 */
export class ResolverError extends CodedError<'NAME_INVALID' | 'MESSAGE_INVALID'> {}
