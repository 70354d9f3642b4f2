/**
 * Where desired state is kept: JSON records by kind and id, changed in transactions that are durable
 * when they are acknowledged. Every implementation passes test/contract/store.ts.
 */

/** The names of the kinds of `R`, an interface from kind to the record's type. */
export type Kind<R> = keyof R & string

/** For each kind, what makes a record of the JSON value read; throws where it is not one. */
export type RecordParsers<R> = { readonly [K in Kind<R>]: (value: unknown) => R[K] }

/** One record written or removed. */
export type Change<R> =
  | {
      readonly op: 'put'
      readonly kind: Kind<R>
      readonly id: string
      readonly value: R[Kind<R>]
    }
  | { readonly op: 'remove'; readonly kind: Kind<R>; readonly id: string }

/** A transaction that is durable. */
export interface Commit<R> {
  /** Grows with every transaction that changes something, across restarts. */
  readonly revision: number
  /** The last change of each record, in the order of their first ones. */
  readonly changes: readonly Change<R>[]
}

/** What a reader sees. Each call gives fresh objects. */
export interface Records<R> {
  get<K extends Kind<R>>(kind: K, id: string): R[K] | undefined
  /** In the order of the ids, compared by UTF-16 code units. */
  list<K extends Kind<R>>(kind: K): readonly R[K][]
  /** As `list`, with the ids. */
  entries<K extends Kind<R>>(kind: K): readonly (readonly [id: string, value: R[K]])[]
}

/** The store within one transaction: sees its own writes, and all transactions begun before it. */
export interface Transaction<R> extends Records<R> {
  /** `value` is copied now, as JSON: what is `undefined` is left out. Throws `STORE_BAD_RECORD`. */
  put<K extends Kind<R>>(kind: K, id: string, value: R[K]): void
  /** Removing what is not there changes nothing. */
  remove(kind: Kind<R>, id: string): void
}

/** `get`, `list` and `entries` of the store itself see durable transactions only. */
export interface Store<R> extends Records<R> {
  /** The revision of the last durable transaction; 0 for an empty store. */
  readonly revision: number
  /**
   * Runs `body` and resolves when what it wrote is durable: neither SIGKILL nor loss of power undoes
   * it. Atomic and serial. `body` is synchronous and may run more than once, so it touches nothing but
   * the transaction. Where it throws, nothing is written and the promise rejects with that error.
   * Rejects with StoreError `STORE_FULL`, `STORE_WRITE_FAILED`, `STORE_CLOSED`; transactions that
   * were begun before that was known and may have seen the lost writes are rejected with it.
   */
  transact(body: (transaction: Transaction<R>) => void): Promise<Commit<R>>
  /** Waits for what is under way. Closing again does nothing. */
  close(): Promise<void>
}

/** A parser for records that only this program writes: takes the value as it is. */
export function trustedRecord<T>(): (value: unknown) => T {
  return value => value as T
}

/** The kinds that `parsers` knows. */
export function kindsOf<R>(parsers: RecordParsers<R>): readonly Kind<R>[] {
  // Object.keys() is typed to give any string.
  return Object.keys(parsers) as Kind<R>[]
}
