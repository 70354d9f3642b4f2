/** A tracked connection as a record, and what it takes to match a filter. Pure. */
import { formatAddress, parseAddress, type Family } from '../base/ip.js'

/** By the kernel's number: include/uapi/linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack. */
export const TCP_FLOW_STATES = [
  'none',
  'syn-sent',
  'syn-received',
  'established',
  'fin-wait',
  'close-wait',
  'last-ack',
  'time-wait',
  'close',
  'syn-sent-2',
] as const

/** ICMP of either family is `icmp`; what has no name here is its number. */
export type FlowProtocol = 'tcp' | 'udp' | 'sctp' | 'icmp' | number

export type TcpFlowState = (typeof TCP_FLOW_STATES)[number]

/** What the packets of one direction carry. */
export interface FlowTuple {
  readonly source: string
  readonly destination: string
  /** 0 where the protocol has no ports. */
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface FlowCounters {
  readonly packets: number
  readonly bytes: number
}

/** One entry of the kernel's connection tracking. */
export interface Flow {
  readonly family: Family
  readonly protocol: FlowProtocol
  /** As the one who began sends. */
  readonly original: FlowTuple
  /** As answers come, before translation is undone: `reply.source` is who serves. */
  readonly reply: FlowTuple
  readonly tcpState: TcpFlowState | undefined
  readonly mark: number
  /** Of the original direction; 0 where there is none. */
  readonly zone: number
  readonly hasReply: boolean
  readonly isAssured: boolean
  readonly isSourceNat: boolean
  readonly isDestinationNat: boolean
  readonly isOffloaded: boolean
  /** Undefined where the entry does not run out: offloaded, or about to go. */
  readonly timeoutSeconds: number | undefined
  /** Undefined unless `net.netfilter.nf_conntrack_acct` was 1 when the flow began. */
  readonly originalCounters: FlowCounters | undefined
  readonly replyCounters: FlowCounters | undefined
  /** Tells the entry from a later one with the same addresses and ports, nearly always. */
  readonly id: number
}

/** What a flow must have; absent: anything. */
export interface FlowFilter {
  readonly family?: Family
  readonly protocol?: FlowProtocol
  /** Where `flow.mark & mask` is `value`; the mask is all bits by default. */
  readonly mark?: { readonly value: number; readonly mask?: number }
  readonly zone?: number
  readonly isDestinationNat?: boolean
  readonly original?: Partial<FlowTuple>
  readonly reply?: Partial<FlowTuple>
}

/** A function that says whether a flow has what the filter asks. Throws IpError `IP_BAD_ADDRESS`. */
export function compileFilter(filter: FlowFilter): (flow: Flow) => boolean {
  const { family, protocol, mark, zone, isDestinationNat } = filter
  const mask = mark?.mask ?? 0xffff_ffff
  const isOriginal = compileTuple(filter.original ?? {})
  const isReply = compileTuple(filter.reply ?? {})
  return flow =>
    (family === undefined || flow.family === family) &&
    (protocol === undefined || flow.protocol === protocol) &&
    (mark === undefined || (flow.mark & mask) >>> 0 === mark.value >>> 0) &&
    (zone === undefined || flow.zone === zone) &&
    (isDestinationNat === undefined || flow.isDestinationNat === isDestinationNat) &&
    isOriginal(flow.original) &&
    isReply(flow.reply)
}

function compileTuple(wanted: Partial<FlowTuple>): (tuple: FlowTuple) => boolean {
  const { sourcePort, destinationPort } = wanted
  const source = wanted.source && formatAddress(parseAddress(wanted.source))
  const destination = wanted.destination && formatAddress(parseAddress(wanted.destination))
  return tuple =>
    (source === undefined || tuple.source === source) &&
    (destination === undefined || tuple.destination === destination) &&
    (sourcePort === undefined || tuple.sourcePort === sourcePort) &&
    (destinationPort === undefined || tuple.destinationPort === destinationPort)
}
