/**
 * Which scenarios of the mesh's specification (section 7, numbers 1 to 125) run where, and which are
 * left for later and why. mesh-coverage.test.ts holds that no number is missing.
 */

import type { Test } from 'tap'

export const firstScenario = 1
export const lastScenario = 125

/** By scenario file. Each file asserts that it runs these and no others. */
export const RUN = {
  forwarding: [
    ...[2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22],
    ...[25, 26, 27, 28, 29, 42, 122, 125],
  ],
  update: [46, 47, 48, 49, 50, 51],
  drain: [52, 53, 54, 55, 56, 57, 58, 59, 60, 62, 63, 118],
  load: [56, 78],
  ports: [7, 37, 43, 92, 93, 94, 95, 96, 98, 99, 100],
  repair: [44, 78, 79, 80, 86, 103, 105, 116, 117, 120],
  commands: [71, 106, 107],
  vip: [15, 36, 61, 66, 68, 69, 70, 71, 85, 87, 88, 101],
} as const

/** Left for later, each with what it waits for. */
export const LATER: readonly { readonly scenarios: readonly number[]; readonly why: string }[] = [
  {
    scenarios: [1, 14, 23, 24, 45, 72, 73, 74, 75, 76, 77, 81, 83, 84, 90, 91, 119, 123, 124],
    why: 'several nodes',
  },
  { scenarios: [32, 34], why: 'the overlay driver' },
  { scenarios: [64, 108, 109], why: 'IPVS, in the virtual machine of the lab' },
  { scenarios: [65, 67], why: 'slow start, and shares among services' },
  { scenarios: [97], why: 'source ranges of ports' },
  { scenarios: [39, 104], why: 'other firewalls of the host: what they drop stays dropped' },
  {
    scenarios: [33, 35, 38, 40, 41, 102],
    why: 'routers, a second link and a raw sender in the lab',
  },
  { scenarios: [30, 31, 82], why: 'hours of idle time: the time-outs are the kernel’s' },
  { scenarios: [89], why: 'a change of endpoint mode under load' },
  { scenarios: [110, 111, 112, 113, 114, 115], why: 'benchmarks, and a full connection table' },
  { scenarios: [121], why: 'a second version' },
]

/** Subtests of `t` that carry scenarios' numbers in their names, and the numbers. */
export interface ByScenario {
  (numbers: readonly number[], name: string, body: (t: Test) => Promise<unknown>): void
  readonly numbers: readonly number[]
}

/** Only these, by number, while one is looked at: `SCENARIO=12,13`. */
const chosen = process.env['SCENARIO']?.split(',').map(Number)

export function byScenario(t: Test): ByScenario {
  const numbers: number[] = []
  const scenario = (
    own: readonly number[],
    name: string,
    body: (t: Test) => Promise<unknown>,
  ): void => {
    numbers.push(...own)
    if (chosen !== undefined && !own.some(one => chosen.includes(one))) return
    const title = own.length === 1 ? `scenario ${own[0]}` : `scenarios ${own.join(', ')}`
    void t.test(`${title}: ${name}`, async t => {
      await body(t)
    })
  }
  return Object.assign(scenario, { numbers })
}

/** Asserts that a file ran what the table says, once its subtests are queued. */
export function assertScenarios(t: Test, file: keyof typeof RUN, numbers: readonly number[]): void {
  const sorted = (all: readonly number[]): number[] => [...new Set(all)].sort((a, b) => a - b)
  t.strictSame(sorted(numbers), sorted(RUN[file]), 'every scenario of the file is run')
}
