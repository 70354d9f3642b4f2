/** What a driver refuses. */

import { CodedError } from '../base/error.js'

export class DriverError extends CodedError<
  'DRIVER_UNKNOWN_OPTION' | 'DRIVER_BAD_OPTION' | 'DRIVER_NAME_IN_USE' | 'DRIVER_NETWORK_MISSING'
> {}
