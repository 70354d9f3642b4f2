/** What `options ndots:N` of a resolv.conf says (resolv.conf(5)). Pure. */

/** The last `ndots` that is an integer of 0 or more; undefined where there is none. */
export function parseNdots(options: readonly string[]): number | undefined {
  let ndots: number | undefined
  for (const option of options) {
    const match = /^ndots:\+?(\d{1,9})$/.exec(option)
    if (match !== null) ndots = Number(match[1])
  }
  return ndots
}
