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

/** News of a batch of our own changes, until it can be read; a message for each element. */
const RECEIVE_BYTES = 32 << 20
/** Some hundred datagrams at a time, and then others have their turn. */
const READS_A_TURN = 16

/** Calls `onTampered` after each foreign change of `table`, in the namespace of the calling moment. */
export function watchTable(table: string, poller: FdPoller, onTampered: () => void): Watch {
  const news = new NftNews(ownNftPid())
  const monitor = openNftMonitor(RECEIVE_BYTES)
  const read = (): boolean => {
    let isTampered = false
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      const { messages, overrun } = monitor.read()
      // What was lost may have been ours.
      if (news.read(messages).has(table) || overrun) isTampered = true
      if (messages.length === 0 && !overrun) break
    }
    return isTampered
  }
  poller.add(monitor.fd, () => {
    if (read()) onTampered()
  })
  return {
    close: () => {
      poller.remove(monitor.fd)
      monitor.close()
    },
  }
}
