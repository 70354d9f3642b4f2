/** Hears when somebody else changes the nftables rules of a sandbox, so that ours come back at once. */

import { openNftMonitor } from '../kernel/monitor.js'
import { runInNetns, type Netns } from '../kernel/netns.js'
import { NftNews, ownNftPid } from '../kernel/nft-news.js'
import type { Poller } from '../runtime/index.js'

export interface SandboxWatch {
  close(): void
}

const restoreEveryMs = 200

/** Calls `onTampered` with the names of the tables that a foreign transaction touched. */
export function watchSandbox(
  netns: Netns,
  poller: Poller,
  onTampered: (tables: ReadonlySet<string>) => void,
): SandboxWatch {
  const news = new NftNews(ownNftPid())
  const monitor = runInNetns(netns, () => openNftMonitor())
  let isClosed = false
  let pending: Set<string> | undefined
  let quietUntil = 0
  /** Whoever flushes in a loop is answered a few times a second, so that the rest is served too. */
  const tell = (tables: ReadonlySet<string>): void => {
    if (pending !== undefined) {
      for (const table of tables) pending.add(table)
      return
    }
    const waitMs = quietUntil - performance.now()
    if (waitMs <= 0) {
      quietUntil = performance.now() + restoreEveryMs
      return onTampered(tables)
    }
    pending = new Set(tables)
    setTimeout(() => {
      const due = pending ?? new Set()
      pending = undefined
      quietUntil = performance.now() + restoreEveryMs
      if (!isClosed) onTampered(due)
    }, waitMs).unref()
  }
  poller.add(monitor.fd, () => {
    const { messages, overrun } = monitor.read()
    const tables = news.read(messages)
    if (isClosed) return
    // What was lost may have been ours.
    if (overrun) tell(everyTable)
    else if (tables.size > 0) tell(tables)
  })
  return {
    close() {
      isClosed = true
      poller.remove(monitor.fd)
      monitor.close()
    },
  }
}

/** Our tables in a sandbox. */
export const sandboxTables = {
  dns: 'portolan_dns',
  ingress: 'portolan_ingress',
  vip: 'portolan_vip',
} as const

const everyTable: ReadonlySet<string> = new Set(Object.values(sandboxTables))
