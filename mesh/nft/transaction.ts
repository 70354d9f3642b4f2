/**
 * The commands that give a table other elements. A change of usual size is one transaction. A large one
 * is several, so that no call holds the process for long: first what nothing leads to yet, then all
 * entries at once, then what nothing leads to any more. Pure.
 */

import type { ElementChange } from './contents.js'
import {
  composeChainOnDemand,
  composeElements,
  composeRemoval,
  composeSkeleton,
  type Element,
  type TableProgram,
} from './program.js'

/** Elements in one transaction: 0.2 s. */
export const BATCH_ELEMENTS = 20_000

/** Chains on demand that are to be made before. */
export function composeTransactions(
  program: TableProgram,
  change: ElementChange,
  newChains: readonly string[],
): readonly string[] {
  const chains = newChains.map(name => composeChainOnDemand(program, name)).join('')
  const { early, middle, late } = splitChange(program, change)
  const first = early.map(some => composeElements('add', program, some))
  const entries =
    composeElements('delete', program, middle.deletions) +
    composeElements('add', program, middle.additions)
  const last = late.map(some => composeElements('delete', program, some))
  const [head = '', ...rest] = [...first, entries, ...last].filter(text => text !== '')
  return [chains + head, ...rest].filter(text => text !== '')
}

/** Makes the table anew, in place of whatever has its name. */
export function composeReplacement(
  program: TableProgram,
  elements: readonly Element[],
  chains: readonly string[],
): readonly string[] {
  const change = { deletions: [], additions: elements }
  const [head = '', ...rest] = composeTransactions(program, change, chains)
  return [composeRemoval(program.name) + composeSkeleton(program) + head, ...rest]
}

interface Split {
  readonly early: readonly (readonly Element[])[]
  readonly middle: ElementChange
  readonly late: readonly (readonly Element[])[]
}

function splitChange(program: TableProgram, change: ElementChange): Split {
  const { deletions, additions } = change
  if (deletions.length + additions.length <= BATCH_ELEMENTS) {
    return { early: [], middle: change, late: [] }
  }
  const entries = new Set(program.collections.filter(one => one.isEntry).map(one => one.name))
  const idOf = ({ collection, key }: Element): string => `${collection} ${key}`
  const gone = new Set(deletions.map(idOf))
  const come = new Set(deletions.length === 0 ? [] : additions.map(idOf))
  const isEarly = (one: Element): boolean =>
    !entries.has(one.collection) && (gone.size === 0 || !gone.has(idOf(one)))
  const isLate = (one: Element): boolean => !entries.has(one.collection) && !come.has(idOf(one))
  return {
    early: inBatches(additions.filter(isEarly)),
    middle: {
      deletions: deletions.filter(one => !isLate(one)),
      additions: additions.filter(one => !isEarly(one)),
    },
    late: inBatches(deletions.filter(isLate)),
  }
}

function inBatches(elements: readonly Element[]): Element[][] {
  const count = Math.ceil(elements.length / BATCH_ELEMENTS)
  return Array.from({ length: count }, (_, i) =>
    elements.slice(i * BATCH_ELEMENTS, (i + 1) * BATCH_ELEMENTS),
  )
}
