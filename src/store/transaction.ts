/** One transaction over JSON texts: typed reading and writing, nothing of it kept until it is taken. */

import { StoreError } from './error.js'
import { TextOverlay } from './record-map.js'
import type { TextChange, TextView } from './record-map.js'
import type { Change, Kind, RecordParsers, Records, Transaction } from './store.js'

/** LMDB's keys end at 1978 bytes; ids are at most three bytes a code unit. */
const MAX_ID_LENGTH = 512

/** Typed reading of a view. */
export class TextRecords<R> implements Records<R> {
  readonly #parsers: RecordParsers<R>
  readonly #view: TextView

  constructor(parsers: RecordParsers<R>, view: TextView) {
    this.#parsers = parsers
    this.#view = view
  }

  get<K extends Kind<R>>(kind: K, id: string): R[K] | undefined {
    const text = this.#view.get(kind, id)
    return text === undefined ? undefined : this.#parsers[kind](JSON.parse(text))
  }

  list<K extends Kind<R>>(kind: K): readonly R[K][] {
    return this.entries(kind).map(([, value]) => value)
  }

  entries<K extends Kind<R>>(kind: K): readonly (readonly [id: string, value: R[K]])[] {
    const parse = this.#parsers[kind]
    return [...this.#view.ids(kind)].sort().flatMap(id => {
      const text = this.#view.get(kind, id)
      return text === undefined ? [] : [[id, parse(JSON.parse(text))] as const]
    })
  }
}

/** What a body works on. `end` closes it, so that a body that goes on later is told so. */
export class TextTransaction<R> extends TextRecords<R> implements Transaction<R> {
  readonly #overlay: TextOverlay
  readonly #changes = new Map<string, Change<R>>()
  #isOver = false

  constructor(parsers: RecordParsers<R>, below: TextView) {
    const overlay = new TextOverlay(below)
    super(parsers, overlay)
    this.#overlay = overlay
  }

  put<K extends Kind<R>>(kind: K, id: string, value: R[K]): void {
    this.#write({ op: 'put', kind, id, value }, textOf(kind, id, value))
  }

  remove(kind: Kind<R>, id: string): void {
    if (this.#overlay.get(kind, id) === undefined) return
    this.#write({ op: 'remove', kind, id }, undefined)
  }

  /** Ends the transaction. */
  end(): { readonly texts: readonly TextChange[]; readonly changes: readonly Change<R>[] } {
    this.#isOver = true
    return { texts: this.#overlay.changes(), changes: [...this.#changes.values()] }
  }

  #write(change: Change<R>, text: string | undefined): void {
    const { kind, id } = change
    if (this.#isOver) {
      const message = `Cannot write ${kind} "${id}": its transaction is over; its body must not wait`
      throw new StoreError('STORE_CLOSED', message)
    }
    if (id === '' || id.length > MAX_ID_LENGTH) {
      const message = `Cannot store ${kind} "${id}": an id has 1 to ${MAX_ID_LENGTH} characters`
      throw new StoreError('STORE_BAD_RECORD', message)
    }
    this.#overlay.set({ kind, id, text })
    this.#changes.set(`${kind}/${id}`, change)
  }
}

function textOf(kind: string, id: string, value: unknown): string {
  // JSON.stringify is typed to give a string, and gives undefined for undefined and functions.
  const text: string | undefined = JSON.stringify(value)
  if (text === undefined) {
    throw new StoreError('STORE_BAD_RECORD', `Cannot store ${kind} "${id}": its value is not JSON`)
  }
  return text
}
