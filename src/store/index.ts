/** Where desired state is kept. */

export { StoreError } from './error.js'
export type { StoreErrorCode } from './error.js'
export { openLmdbStore } from './lmdb.js'
export { trustedRecord } from './store.js'
export type { Change, Commit, Kind, RecordParsers, Records, Store, Transaction } from './store.js'
