/**
 * One nftables table of ours in the kernel: what was written last, what differs, and what is to be
 * written. Acts on the namespace of the calling moment, step by step, so that a caller may let others
 * run between the transactions of a large change.
 */

import { dumpElements, dumpShape, type TableShape } from '../../src/kernel/nft-dump.js'
import { closeNetns, createNetns, runInNetns } from '../../src/kernel/netns.js'
import { runNft } from '../../src/kernel/nft.js'
import { compareContents, Contents } from './contents.js'
import { parseElements } from './listing.js'
import {
  composeChainOnDemand,
  composeSkeleton,
  type Element,
  type TableProgram,
} from './program.js'
import { composeReplacement, composeTransactions } from './transaction.js'

/** Each step is one transaction or one listing; the result is how many differences there were. */
export type Steps = Generator<void, number, void>

export class NftTable {
  readonly #program: TableProgram
  /** Undefined until it was compared with the kernel, and again after a refusal. */
  #contents: Contents | undefined
  #chains = new Set<string>()

  constructor(program: TableProgram) {
    this.#program = program
  }

  /** Whether `change` may be called: what the kernel holds is known. */
  get isKnown(): boolean {
    return this.#contents !== undefined
  }

  /** The next change compares with the kernel first. */
  forget(): void {
    this.#contents = undefined
  }

  /**
   * Lets go of some elements and adds others, against what was written last. Looks at nothing else, so
   * it costs the same whatever there is. Throws KernelError, MeshError `MESH_BAD_SERVICE`.
   */
  *change(gone: readonly Element[], come: readonly Element[]): Steps {
    const contents = this.#contents
    if (contents === undefined) throw new Error(`Table ${this.#program.name} was not compared yet`)
    const change = contents.plan(gone, come)
    const missing = this.#missing(verdictsOf(this.#program, change.additions))
    yield* this.#run(composeTransactions(this.#program, change, missing))
    contents.take(gone, come)
    for (const chain of missing) this.#chains.add(chain)
    return change.deletions.length + change.additions.length
  }

  /**
   * Compares the kernel's table with `wanted` and mends what differs: elements one by one, or the whole
   * table where its chains or maps are not ours. Established connections do not notice.
   */
  *reconcile(wanted: Contents): Steps {
    const program = this.#program
    const needed = verdictsOf(program, wanted.list())
    const shape = dumpShape(program.name)
    const expected = expectShape(program, needed)
    const found = [...shape.chains.keys()]
    const base = new Set([...expected.chains.keys()].filter(name => !needed.has(name)))
    const isOwn = (name: string): boolean =>
      base.has(name) || program.composeChain(name) !== undefined
    const strange = countStrange(shape, expected, base) + found.filter(one => !isOwn(one)).length
    const onDemand = found.filter(name => !base.has(name))
    const differences =
      strange > 0
        ? yield* this.#replace(wanted, needed)
        : yield* this.#mend(wanted, needed, onDemand)
    this.#contents = wanted
    return strange + differences
  }

  *#replace(wanted: Contents, needed: ReadonlySet<string>): Steps {
    yield* this.#run(composeReplacement(this.#program, [...wanted.list()], [...needed]))
    this.#chains = new Set(needed)
    return 0
  }

  *#mend(wanted: Contents, needed: ReadonlySet<string>, found: readonly string[]): Steps {
    const program = this.#program
    const change = compareContents(yield* observe(program), wanted)
    this.#chains = new Set(found)
    const missing = this.#missing(needed)
    const stale = [...this.#chains].filter(name => !needed.has(name))
    yield* this.#run(composeTransactions(program, change, missing))
    // In a transaction of their own: kernels before 6.2 may find an element that still leads there.
    if (stale.length > 0) yield* this.#run([composeChainRemoval(program, stale)])
    this.#chains = new Set(needed)
    // Counters of who is gone, like chains of sizes that are, lead nobody anywhere.
    const counters = new Set(
      program.collections.filter(one => one.hasCounters).map(one => one.name),
    )
    const deletions = change.deletions.filter(one => !counters.has(one.collection))
    return deletions.length + change.additions.length + missing.length
  }

  *#run(transactions: readonly string[]): Generator<void, void, void> {
    try {
      for (const [index, text] of transactions.entries()) {
        if (index > 0) yield
        runNft(text)
      }
    } catch (error) {
      this.forget()
      throw error
    }
  }

  #missing(chains: ReadonlySet<string>): string[] {
    return [...chains].filter(chain => !this.#chains.has(chain))
  }
}

/** What the kernel's table holds now, at once; an absent one holds nothing. */
export function observeTable(program: TableProgram): Contents {
  const steps = observe(program)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Runs all steps at once, for tables that are small. */
export function runSteps(steps: Steps): number {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** What the kernel holds of a table's sets and maps, one after another. */
function* observe(program: TableProgram): Generator<void, Contents, void> {
  const contents = new Contents()
  for (const [index, collection] of program.collections.entries()) {
    if (index > 0) yield
    contents.hold(parseElements(collection, dumpElements(program.name, collection.name)))
  }
  return contents
}

/** The chains that elements lead to. */
function verdictsOf(program: TableProgram, elements: Iterable<Element>): Set<string> {
  const maps = new Set(
    program.collections.filter(one => one.data === 'verdict').map(one => one.name),
  )
  const chains = new Set<string>()
  for (const { collection, data } of elements) if (maps.has(collection)) chains.add(data)
  return chains
}

/** What is not as we would make it. Chains on demand that lack or are too many can be mended. */
function countStrange(shape: TableShape, expected: TableShape, base: ReadonlySet<string>): number {
  let count = shape.flags === expected.flags ? 0 : 1
  for (const [name, text] of expected.sets) if (shape.sets.get(name) !== text) count++
  for (const name of shape.sets.keys()) if (!expected.sets.has(name)) count++
  for (const [name, text] of expected.chains) {
    const found = shape.chains.get(name)
    if (found === undefined ? base.has(name) : found !== text) count++
  }
  return count
}

function composeChainRemoval({ name }: TableProgram, chains: readonly string[]): string {
  const flushed = chains.map(chain => `flush chain inet ${name} ${chain}\n`).join('')
  return flushed + chains.map(chain => `delete chain inet ${name} ${chain}\n`).join('')
}

const expectations = new Map<string, TableShape>()

/**
 * What the kernel would make of our text, asked once in a namespace of its own: so a table that an
 * earlier process left is known to be ours, whatever versions of kernel and library took part.
 */
function expectShape(program: TableProgram, chains: ReadonlySet<string>): TableShape {
  const onDemand = [...chains].sort().map(name => composeChainOnDemand(program, name))
  const text = composeSkeleton(program) + onDemand.join('')
  let shape = expectations.get(text)
  if (shape === undefined) {
    const scratch = createNetns()
    try {
      shape = runInNetns(scratch, () => {
        runNft(text)
        return dumpShape(program.name)
      })
    } finally {
      closeNetns(scratch)
    }
    expectations.set(text, shape)
  }
  return shape
}
