/** Which elements a table has, and what is to be done to give it others. Pure. */

import { MeshError } from '../error.js'
import type { Element } from './program.js'

/** Deletions come before additions, as one key may be in both. */
export interface ElementChange {
  readonly deletions: readonly Element[]
  readonly additions: readonly Element[]
}

/**
 * Elements by collection and key, each held once or more often: two services may want one. A change is
 * planned first and taken over once the kernel has it.
 */
export class Contents {
  readonly #held = new Map<string, Map<string, Element>>()
  /** Holders beyond the first, of the few that have some. */
  readonly #more = new Map<Element, number>()

  constructor(elements: readonly Element[] = []) {
    this.hold(elements)
  }

  get(collection: string, key: string): Element | undefined {
    return this.#held.get(collection)?.get(key)
  }

  has({ collection, key, data }: Element): boolean {
    return this.get(collection, key)?.data === data
  }

  *list(): Generator<Element, void, void> {
    for (const of of this.#held.values()) yield* of.values()
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
        const held = this.get(element.collection, element.key)
        const holders = held === undefined ? 0 : 1 + (this.#more.get(held) ?? 0)
        after.set(id, (entry = { element: held ?? element, holders }))
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
    this.hold(come)
  }

  /** Throws MeshError `MESH_BAD_SERVICE` where one key would lead to two things. */
  hold(elements: readonly Element[]): void {
    for (const element of elements) {
      let of = this.#held.get(element.collection)
      if (of === undefined) this.#held.set(element.collection, (of = new Map<string, Element>()))
      const held = of.get(element.key)
      if (held === undefined) of.set(element.key, element)
      else if (held.data === element.data) this.#more.set(held, (this.#more.get(held) ?? 0) + 1)
      else throw conflict(element)
    }
  }

  #release({ collection, key }: Element): void {
    const of = this.#held.get(collection)
    const held = of?.get(key)
    if (of === undefined || held === undefined) return
    const more = this.#more.get(held) ?? 0
    if (more > 1) this.#more.set(held, more - 1)
    else if (more === 1) this.#more.delete(held)
    else of.delete(key)
  }
}

/** From what one table has to what another has. */
export function compareContents(from: Contents, to: Contents): ElementChange {
  const deletions: Element[] = []
  const additions: Element[] = []
  for (const element of from.list()) if (!to.has(element)) deletions.push(element)
  for (const element of to.list()) if (!from.has(element)) additions.push(element)
  return { deletions, additions }
}

function conflict({ collection, key }: Element): MeshError {
  return new MeshError(
    'MESH_BAD_SERVICE',
    `Two services want "${key}" of ${collection}: give each a mark and ports of its own`,
  )
}
