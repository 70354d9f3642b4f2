/** Which elements a table has, and what is to be done to give it others. Pure. */

import { MeshError } from '../error.js'
import type { Element } from './program.js'

/** Deletions come before additions, as one key may be in both. */
export interface ElementChange {
  readonly deletions: readonly Element[]
  readonly additions: readonly Element[]
}

interface Held {
  readonly element: Element
  holders: number
}

/**
 * Elements by collection and key, each held once or more often: two services may want one. A change is
 * planned first and taken over once the kernel has it.
 */
export class Contents {
  #held = new Map<string, Map<string, Held>>()

  constructor(elements: Iterable<Element> = []) {
    for (const element of elements) this.#hold(element)
  }

  get(collection: string, key: string): Element | undefined {
    return this.#held.get(collection)?.get(key)?.element
  }

  /** Those of one collection, or all. */
  *list(collection?: string): Generator<Element> {
    const wanted = collection === undefined ? [...this.#held.keys()] : [collection]
    for (const name of wanted) {
      for (const { element } of this.#held.get(name)?.values() ?? []) yield element
    }
  }

  /**
   * What changes in the kernel when `gone` is let go and `come` is held. Throws MeshError
   * `MESH_BAD_SERVICE` where one key would lead to two things.
   */
  plan(gone: readonly Element[], come: readonly Element[]): ElementChange {
    const after = new Map<string, { element: Element; holders: number }>()
    const entryOf = (element: Element): { element: Element; holders: number } => {
      const id = `${element.collection} ${element.key}`
      let entry = after.get(id)
      if (entry === undefined) {
        const held = this.#held.get(element.collection)?.get(element.key)
        after.set(id, (entry = { element: held?.element ?? element, holders: held?.holders ?? 0 }))
      }
      return entry
    }
    for (const element of gone) entryOf(element).holders--
    for (const element of come) {
      const entry = entryOf(element)
      if (entry.holders > 0 && entry.element.data !== element.data) throw conflict(element)
      entry.element = element
      entry.holders++
    }
    const deletions: Element[] = []
    const additions: Element[] = []
    for (const { element, holders } of after.values()) {
      const before = this.get(element.collection, element.key)
      if (holders > 0 && before?.data === element.data) continue
      if (before !== undefined) deletions.push(before)
      if (holders > 0) additions.push(element)
    }
    return { deletions, additions }
  }

  /** Takes a planned change over. */
  take(gone: readonly Element[], come: readonly Element[]): void {
    for (const element of gone) this.#release(element)
    for (const element of come) this.#hold(element)
  }

  #hold(element: Element): void {
    let of = this.#held.get(element.collection)
    if (of === undefined) this.#held.set(element.collection, (of = new Map<string, Held>()))
    const held = of.get(element.key)
    if (held === undefined) of.set(element.key, { element, holders: 1 })
    else held.holders++
  }

  #release(element: Element): void {
    const of = this.#held.get(element.collection)
    const held = of?.get(element.key)
    if (of === undefined || held === undefined) return
    held.holders--
    if (held.holders === 0) of.delete(element.key)
  }
}

/** From what one table has to what another has. */
export function compareContents(from: Contents, to: Contents): ElementChange {
  const deletions = [...from.list()].filter(
    ({ collection, key, data }) => to.get(collection, key)?.data !== data,
  )
  const additions = [...to.list()].filter(
    ({ collection, key, data }) => from.get(collection, key)?.data !== data,
  )
  return { deletions, additions }
}

function conflict({ collection, key }: Element): MeshError {
  return new MeshError(
    'MESH_BAD_SERVICE',
    `Two services want "${key}" of ${collection}: give each a mark and ports of its own`,
  )
}
