/** Durations as Compose writes them: `1m30s`, `500ms` (Compose Specification, 11). */

/** Milliseconds in a unit. */
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** What a Node timer can wait: 2^31-1 ms, some 24 days. A longer one would fire at once. */
export const MAX_DURATION_MS = 2 ** 31 - 1

const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)/gy

/** Whole milliseconds, rounded up so that a wait never becomes none; undefined where it is not one. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  let total = 0
  let end = 0
  PART.lastIndex = 0
  for (const match of text.matchAll(PART)) {
    total += Number(match[1]) * (UNITS[match[2] ?? ''] ?? 0)
    end = match.index + match[0].length
  }
  return end > 0 && end === text.length ? Math.ceil(total) : undefined
}
