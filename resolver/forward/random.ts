/** Random numbers that a network attacker cannot guess: for message ids, sockets and letter case. */

import { randomFillSync } from 'node:crypto'

/** The next 32 unpredictable bits, as a number from 0 to 2^32 - 1. */
export type RandomSource = () => number

const POOL_WORDS = 1024

/** The system's generator, drawn in blocks: a call costs a few nanoseconds. */
export function createRandomSource(): RandomSource {
  const pool = new Uint32Array(POOL_WORDS)
  let next = POOL_WORDS
  return () => {
    if (next === POOL_WORDS) {
      randomFillSync(pool)
      next = 0
    }
    return pool[next++] ?? 0
  }
}
