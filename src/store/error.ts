/** What a store refuses, each with a stable code. */

import { CodedError } from '../base/error.js'

/**
 * - `STORE_LOCKED`: another process, or another store of this one, has the directory open.
 * - `STORE_UNAVAILABLE`: the directory cannot be made, read or written.
 * - `STORE_CORRUPT`: what lies there is not what a store wrote.
 * - `STORE_TOO_NEW`: a newer version wrote it.
 * - `STORE_FULL`: no room on the disk; nothing was written.
 * - `STORE_WRITE_FAILED`: the disk refused; nothing of the transaction is kept.
 * - `STORE_BAD_RECORD`: the id or the value cannot be stored.
 * - `STORE_CLOSED`: the store, or the transaction, is over.
 */
export type StoreErrorCode =
  | 'STORE_LOCKED'
  | 'STORE_UNAVAILABLE'
  | 'STORE_CORRUPT'
  | 'STORE_TOO_NEW'
  | 'STORE_FULL'
  | 'STORE_WRITE_FAILED'
  | 'STORE_BAD_RECORD'
  | 'STORE_CLOSED'

export class StoreError extends CodedError<StoreErrorCode> {}
