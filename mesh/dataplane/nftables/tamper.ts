/** Hears when somebody else changes a table of ours. */

import { openNftMonitor } from '../../../src/kernel/monitor.js'
import { NftNews, ownNftPid } from '../../../src/kernel/nft-news.js'

/** What tells when a descriptor can be read. */
export interface FdPoller {
  add(fd: number, onReadable: () => void): void
  remove(fd: number): void
}

export interface Watch {
  close(): void
}

/** Calls `onTampered` after each foreign change of `table`, in the namespace of the calling moment. */
export function watchTable(table: string, poller: FdPoller, onTampered: () => void): Watch {
  const news = new NftNews(ownNftPid())
  const monitor = openNftMonitor()
  poller.add(monitor.fd, () => {
    const { messages, overrun } = monitor.read()
    // What was lost may have been ours.
    if (news.read(messages).has(table) || overrun) onTampered()
  })
  return {
    close: () => {
      poller.remove(monitor.fd)
      monitor.close()
    },
  }
}
