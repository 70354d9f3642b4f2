/** Signals by name, as `stop_signal` spells them. Pure. */

import { constants } from 'node:os'

/** As libc counts them: it keeps 32 and 33 for its threads (signal(7)). */
const RT_MIN = 34
const RT_MAX = 64

/** The number of a signal by name (`SIGTERM`, `term`), `SIGRTMIN+3` or number; else undefined. */
export function parseSignal(text: string): number | undefined {
  const name = text.trim().toUpperCase()
  if (/^\d+$/.test(name)) return isSignal(Number(name)) ? Number(name) : undefined
  const long = name.startsWith('SIG') ? name : `SIG${name}`
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(long)
  if (realTime) {
    const offset = Number(realTime[3] ?? 0) * (realTime[2] === '-' ? -1 : 1)
    const number = (realTime[1] === 'MIN' ? RT_MIN : RT_MAX) + offset
    return number >= RT_MIN && number <= RT_MAX ? number : undefined
  }
  return Object.entries(constants.signals).find(([known]) => known === long)?.[1]
}

function isSignal(number: number): boolean {
  return number >= 1 && number <= RT_MAX
}
