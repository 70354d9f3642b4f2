/** Records as JSON text by kind and id, and views that lie over one another. */

/** Finds the text of a record; `ids` are those it may have, without order. */
export interface TextView {
  get(kind: string, id: string): string | undefined
  ids(kind: string): Iterable<string>
}

/** Records that can be changed in place. */
export class RecordMap implements TextView {
  readonly #kinds = new Map<string, Map<string, string>>()

  get(kind: string, id: string): string | undefined {
    return this.#kinds.get(kind)?.get(id)
  }

  ids(kind: string): Iterable<string> {
    return this.#kinds.get(kind)?.keys() ?? []
  }

  set(kind: string, id: string, text: string | undefined): void {
    const records = this.#kinds.get(kind)
    if (text === undefined) records?.delete(id)
    else if (records === undefined) this.#kinds.set(kind, new Map([[id, text]]))
    else records.set(id, text)
  }
}

/** What a record becomes; `text` undefined: it is removed. */
export interface TextChange {
  readonly kind: string
  readonly id: string
  readonly text: string | undefined
}

/** Changes over a view, which they leave alone. */
export class TextOverlay implements TextView {
  readonly #below: TextView
  readonly #changes = new Map<string, TextChange>()

  constructor(below: TextView) {
    this.#below = below
  }

  get(kind: string, id: string): string | undefined {
    const change = this.#changes.get(recordKey(kind, id))
    return change === undefined ? this.#below.get(kind, id) : change.text
  }

  *ids(kind: string): Iterable<string> {
    for (const id of this.#below.ids(kind)) {
      if (!this.#changes.has(recordKey(kind, id))) yield id
    }
    for (const change of this.#changes.values()) {
      if (change.kind === kind && change.text !== undefined) yield change.id
    }
  }

  set(change: TextChange): void {
    this.#changes.set(recordKey(change.kind, change.id), change)
  }

  /** Takes `change` away where no later one has replaced it. */
  settle(change: TextChange): void {
    const key = recordKey(change.kind, change.id)
    if (this.#changes.get(key) === change) this.#changes.delete(key)
  }

  clear(): void {
    this.#changes.clear()
  }

  /** The last change of each record, in the order of the first ones. */
  changes(): readonly TextChange[] {
    return [...this.#changes.values()]
  }
}

/** A kind has no slash, so that the first one ends it. */
export function recordKey(kind: string, id: string): string {
  return `${kind}/${id}`
}

export function parseRecordKey(key: string): readonly [kind: string, id: string] | undefined {
  const slash = key.indexOf('/')
  return slash > 0 ? [key.slice(0, slash), key.slice(slash + 1)] : undefined
}
