/**
 * Which vectors of the resolver's specification (section 3, numbers 1 to 215) run where, and which are
 * left for later and why. coverage.test.ts holds that no number is in neither table.
 */

import type { Test } from 'tap'

export const firstVector = 1
export const lastVector = 215

/** By scenario file. Each file asserts that it runs these and no others. */
export const RUN = {
  names: range(1, 40),
  types: range(41, 64),
  networks: range(65, 80),
  reverse: range(86, 97),
  // A bridge stands for the overlay.
  services: range(99, 127),
  forwarding: range(128, 156),
  wire: range(157, 191),
  streams: range(192, 202),
  lifecycle: [203, 204, 205, 207, 208, 209, 213, 214, 215],
} as const

/** Left for later, each with what it waits for. */
export const LATER: readonly { readonly vectors: readonly number[]; readonly why: string }[] = [
  { vectors: [...range(81, 85), 98, ...range(210, 212)], why: 'the podman profile' },
  { vectors: [206], why: 'clusters' },
]

/** Makes subtests that carry vectors' numbers in their names, and remembers the numbers. */
export interface ByNumber {
  (numbers: readonly number[], name: string, body: (t: Test) => Promise<void>): void
  readonly numbers: readonly number[]
}

/** Subtests of `t`, for vectors that are no row of a table. */
export function byNumber(t: Test): ByNumber {
  const numbers: number[] = []
  const run = (ns: readonly number[], name: string, body: (t: Test) => Promise<void>): void => {
    numbers.push(...ns)
    t.test(`${ns.join(', ')}: ${name}`, body)
  }
  return Object.assign(run, { numbers })
}

/** Asserts that the rows of a scenario file are those of RUN. */
export function assertCovers(t: Test, file: keyof typeof RUN, vectors: readonly number[]): void {
  const numbers = [...new Set(vectors)].sort((a, b) => a - b)
  t.strictSame(
    numbers,
    [...RUN[file]].sort((a, b) => a - b),
    'every vector of the file is run',
  )
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
}
