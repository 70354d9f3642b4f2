/**
 * Which slot of a service's table leads to which destination, so that one draw or one hash of the
 * client's address chooses by weight. Pure.
 *
 * `random`: each new connection draws a slot. Not in turn: nftables counts turns by rule, and one rule
 * serves all services of a size, so that two services used alternately would see every second slot
 * only. `hash`: a Maglev table (Eisenbud et al., NSDI 2016, section 3.4), chosen by the client's address:
 * a destination that goes moves its own slots and few others, and every node has the same table.
 */

export type Draw = 'random' | 'hash'

export interface Candidate {
  readonly id: string
  readonly weight: number
}

/** Up to here weights are kept exactly. */
const EXACT_SLOTS = 128
/** Primes, as every step of a permutation must visit all slots. */
const SIZES = [251, 2039, 16_381, 65_521] as const
/** Slots for each destination, the fewest where shares are rounded. */
const SLOTS_EACH = 4

/** The destination's index in `candidates`, by slot. Empty where there are none. */
export function assignSlots(draw: Draw, candidates: readonly Candidate[]): readonly number[] {
  if (candidates.length === 0) return []
  return draw === 'hash' ? assignByHash(candidates) : assignByShare(candidates)
}

function assignByShare(candidates: readonly Candidate[]): number[] {
  const weights = candidates.map(one => one.weight)
  const divisor = weights.reduce(greatestCommonDivisor)
  const total = sum(weights) / divisor
  const exact = total <= Math.max(EXACT_SLOTS, candidates.length)
  const counts = exact
    ? weights.map(one => one / divisor)
    : apportion(weights, sizeFor(weights.length))
  return counts.flatMap((count, index) => Array.from({ length: count }, () => index))
}

/** By largest remainder, after one for each. */
function apportion(weights: readonly number[], size: number): number[] {
  const total = sum(weights)
  const quotas = weights.map(weight => Math.max(1, (weight / total) * size))
  const counts = quotas.map(Math.floor)
  const byRemainder = quotas
    .map((quota, index) => ({ index, rest: quota % 1 }))
    .sort((a, b) => b.rest - a.rest || a.index - b.index)
  for (let i = 0, left = size - sum(counts); left > 0; i = (i + 1) % byRemainder.length, left--) {
    const index = byRemainder[i]?.index ?? 0
    counts[index] = (counts[index] ?? 0) + 1
  }
  return counts
}

function assignByHash(candidates: readonly Candidate[]): number[] {
  const size = sizeFor(candidates.length)
  const heaviest = Math.max(...candidates.map(one => one.weight))
  const turns = candidates
    .map((one, index) => {
      const offset = hash(one.id, 0x811c_9dc5) % size
      const step = (hash(one.id, 0x0501_93a7) % (size - 1)) + 1
      // A first turn for everybody: the lightest must not come away empty.
      return { index, at: offset, step, share: one.weight / heaviest, credit: 1, id: one.id }
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  const slots = new Array<number>(size).fill(-1)
  for (let filled = 0; filled < size;) {
    for (const turn of turns) {
      const isDue = turn.credit >= 1
      turn.credit += turn.share - (isDue ? 1 : 0)
      if (!isDue) continue
      while (slots[turn.at] !== -1) turn.at = (turn.at + turn.step) % size
      slots[turn.at] = turn.index
      if (++filled === size) break
    }
  }
  return slots
}

function sizeFor(count: number): number {
  return SIZES.find(size => size >= count * SLOTS_EACH) ?? SIZES[SIZES.length - 1] ?? count
}

/** FNV-1a with a final mix (MurmurHash3's). */
function hash(text: string, seed: number): number {
  let value = seed
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x0100_0193)
  value = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2_ae35)
  return (value ^ (value >>> 16)) >>> 0
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, one) => total + one, 0)
}
