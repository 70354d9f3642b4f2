/** The kernel's connection tracking, of the namespace of the calling moment (ctnetlink). */
import { composeQueries, composeRemoval, parseFlow } from './ctnetlink.js'
import { compileFilter, type Flow, type FlowFilter } from './flow.js'
import { NETLINK_NETFILTER, readNetlink, sendNetlinkEach, type NetlinkRequest } from './netlink.js'
import { readSysctl } from './sysctl.js'

/** Linux: include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h. */
const NFNL_SUBSYS_CTNETLINK = 1
const TYPE = { GET: (NFNL_SUBSYS_CTNETLINK << 8) | 1, DELETE: (NFNL_SUBSYS_CTNETLINK << 8) | 2 }

/** How full the table is. */
export interface ConntrackUsage {
  /** Entries of this namespace. */
  readonly count: number
  /** From here on the kernel drops what would begin. */
  readonly max: number
}

/**
 * Flows of both families that have what `filter` asks. One that changes while the table is read may
 * come twice. Throws KernelError with the errno as code; `EINVAL` or `EOPNOTSUPP`: the kernel lacks it.
 */
export function listFlows(filter: FlowFilter = {}): readonly Flow[] {
  const matches = compileFilter(filter)
  return read(filter, payload => {
    const flow = parseFlow(payload)
    return flow !== undefined && matches(flow) ? flow : undefined
  })
}

/**
 * Removes the flows that have what `filter` asks and `isMeant` agrees to, and returns how many. The
 * next packet of each is taken for a new flow: UDP goes where the rules say now, TCP is answered with
 * a reset unless they pick connections up. One that ended meanwhile is no error, and one that took its
 * place stays, unless it took its memory as well, of which the kernel makes the id. Throws KernelError
 * with the errno as code.
 */
export function removeFlows(
  filter: FlowFilter,
  isMeant: (flow: Flow) => boolean = () => true,
): number {
  const matches = compileFilter(filter)
  const found = read(filter, payload => {
    const flow = parseFlow(payload)
    const removal = flow && matches(flow) ? composeRemoval(payload) : undefined
    return flow && removal && { flow, removal }
  })
  const removals = found
    .filter(({ flow }) => isMeant(flow))
    .map(({ removal }) => request(TYPE.DELETE, removal, 'remove a tracked flow'))
  const refusals = sendNetlinkEach(removals)
  for (const error of refusals.values()) if (error.code !== 'ENOENT') throw error
  return removals.length - refusals.size
}

/** Undefined where the kernel tracks no connections. */
export function conntrackUsage(): ConntrackUsage | undefined {
  const count = readSysctl('net.netfilter.nf_conntrack_count')
  const max = readSysctl('net.netfilter.nf_conntrack_max')
  if (count === undefined || max === undefined) return undefined
  return { count: Number(count), max: Number(max) }
}

function read<T>(filter: FlowFilter, keep: (payload: Buffer) => T | undefined): readonly T[] {
  // A listing walks the whole table of the kernel for each family, whoever has entries in it: for the
  // many namespaces that have none it costs milliseconds for nothing.
  if (conntrackUsage()?.count === 0) return []
  return composeQueries(filter).flatMap(query =>
    readNetlink(request(TYPE.GET, query, 'list tracked flows'), ({ payload }) => keep(payload)),
  )
}

function request(type: number, payload: Buffer, attempt: string): NetlinkRequest {
  return { protocol: NETLINK_NETFILTER, type, flags: 0, payload, attempt }
}
