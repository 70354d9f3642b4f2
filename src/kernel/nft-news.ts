/**
 * Which tables somebody else changed, from what an nftables monitor hears. Each transaction's messages
 * end in one that says which process it was (include/uapi/linux/netfilter/nf_tables.h, NFTA_GEN_*).
 */
import { parseAttributes } from './attribute.js'
import { openNftMonitor } from './monitor.js'
import type { NetlinkMessage } from './netlink.js'
import { closeNetns, createNetns, runInNetns } from './netns.js'
import { runNft } from './nft.js'

const NFNL_SUBSYS_NFTABLES = 10
const NFT_MSG_NEWGEN = 15
/** The first attribute of every message about tables and what is in them: the table's name. */
const TABLE = 1
const GEN_PROC_PID = 2
const HEADER_BYTES = 4

let ownPid: number | undefined

/** Gathers one monitor's messages, which may come apart, into transactions. */
export class NftNews {
  readonly #ownPid: number
  readonly #touched = new Set<string>()

  constructor(ownPid: number) {
    this.#ownPid = ownPid
  }

  /** The tables that transactions of other processes touched, of those that end in `messages`. */
  read(messages: readonly NetlinkMessage[]): ReadonlySet<string> {
    const foreign = new Set<string>()
    for (const { type, payload } of messages) {
      if (type >> 8 !== NFNL_SUBSYS_NFTABLES) continue
      const attributes = parseAttributes(payload.subarray(HEADER_BYTES))
      if ((type & 0xff) !== NFT_MSG_NEWGEN) {
        const table = attributes.get(TABLE)?.toString('utf8').replace(/\0.*$/s, '')
        if (table !== undefined) this.#touched.add(table)
        continue
      }
      if (attributes.get(GEN_PROC_PID)?.readUInt32BE(0) !== this.#ownPid) {
        for (const table of this.#touched) foreign.add(table)
      }
      this.#touched.clear()
    }
    return foreign
  }
}

/**
 * This process as nftables tells of it, which in a PID namespace is not `process.pid`: asked once, by a
 * transaction in a namespace of its own.
 */
export function ownNftPid(): number {
  ownPid ??= askOwnPid()
  return ownPid
}

function askOwnPid(): number {
  const scratch = createNetns()
  try {
    return runInNetns(scratch, () => {
      const monitor = openNftMonitor()
      try {
        runNft('table inet who { }')
        for (const { type, payload } of monitor.read().messages) {
          if ((type & 0xff) !== NFT_MSG_NEWGEN) continue
          const pid = parseAttributes(payload.subarray(HEADER_BYTES)).get(GEN_PROC_PID)
          if (pid !== undefined) return pid.readUInt32BE(0)
        }
        return process.pid
      } finally {
        monitor.close()
      }
    })
  } finally {
    closeNetns(scratch)
  }
}
