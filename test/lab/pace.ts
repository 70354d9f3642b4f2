/** How busy the machine is, for bounds on time: other tests may run beside this one. */

import type { Host } from './host.js'

/** What `portolan --version` takes on two idle cores, generously. */
const idleMs = 250

/** How many times slower than an idle machine this one runs a Node program now; 1 at least. */
export async function measureSlowness(host: Host): Promise<number> {
  const startedAt = performance.now()
  await host.run('--version')
  return Math.max(1, (performance.now() - startedAt) / idleMs)
}
