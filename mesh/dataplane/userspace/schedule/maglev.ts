/**
 * The same client to the same destination, chosen by one look into a table that every node fills
 * alike (Eisenbud et al., "Maglev", NSDI 2016, section 3.4). Who comes or goes moves few others.
 */

import { hashText } from './hash.js'
import type { Candidate, Choose } from './scheduler.js'

/** Prime, as IPVS has by default (net/netfilter/ipvs/ip_vs_mh.c): shares are right to a hundredth up to 40 destinations. */
const TABLE_SIZE = 4093

export function maglev<C extends Candidate>(candidates: readonly C[]): Choose<C> {
  const table = fillTable(candidates)
  return (client, isOut) => {
    const at = hashText(client) % TABLE_SIZE
    const first = table[at]
    if (first === undefined) return undefined
    if (!isOut(first)) return first
    // Further on in the table: the clients of one that is out spread over the others.
    for (let i = 1; i < TABLE_SIZE; i++) {
      const candidate = table[(at + i) % TABLE_SIZE]
      if (candidate !== undefined && !isOut(candidate)) return candidate
    }
    return undefined
  }
}

/** Each takes the next free slot of its own order, as often a round as its weight says. */
function fillTable<C extends Candidate>(candidates: readonly C[]): (C | undefined)[] {
  const table = new Array<C | undefined>(TABLE_SIZE)
  if (candidates.length === 0) return table
  const heaviest = Math.max(...candidates.map(({ weight }) => weight))
  const rows = [...candidates]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(candidate => ({
      candidate,
      at: hashText(candidate.id, 1) % TABLE_SIZE,
      step: (hashText(candidate.id, 2) % (TABLE_SIZE - 1)) + 1,
      turns: 0,
    }))
  for (let filled = 0; ;) {
    for (const row of rows) {
      // The heaviest one gets a slot every round, one of half its weight every second.
      row.turns += row.candidate.weight / heaviest
      if (row.turns < 1) continue
      row.turns -= 1
      while (table[row.at] !== undefined) row.at = (row.at + row.step) % TABLE_SIZE
      table[row.at] = row.candidate
      if (++filled === TABLE_SIZE) return table
    }
  }
}
