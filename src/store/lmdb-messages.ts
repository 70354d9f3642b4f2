/** What the store and the thread that owns its database say to each other. */

import type { StoreErrorCode } from './error.js'

/** A record's key, and its JSON; undefined removes it. */
export type Write = readonly [key: string, text: string | undefined]

export type Request =
  | {
      readonly kind: 'commit'
      readonly revision: number
      readonly writes: readonly Write[]
    }
  | { readonly kind: 'close' }

export type Report =
  | {
      readonly kind: 'opened'
      readonly revision: number
      readonly records: readonly (readonly [key: string, text: string])[]
    }
  /** The answer to a commit, and to the opening where that failed. */
  | { readonly kind: 'refused'; readonly code: StoreErrorCode; readonly message: string }
  | { readonly kind: 'committed' }
  | { readonly kind: 'closed' }
