/**
 * The messages of ctnetlink: parsed to flows, composed from filters. Pure
 * (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
 */
import {
  addressBytes,
  addressOfBytes,
  formatAddress,
  parseAddress,
  type Family,
} from '../base/ip.js'
import {
  TCP_FLOW_STATES,
  type Flow,
  type FlowCounters,
  type FlowFilter,
  type FlowProtocol,
  type FlowTuple,
  type TcpFlowState,
} from './flow.js'
import { familyNumber, familyOf } from './family.js'
import { attribute, nested, visitAttributes } from './attribute.js'

const CTA = {
  TUPLE_ORIG: 1,
  TUPLE_REPLY: 2,
  STATUS: 3,
  PROTOINFO: 4,
  TIMEOUT: 7,
  MARK: 8,
  COUNTERS_ORIG: 9,
  COUNTERS_REPLY: 10,
  ID: 12,
  ZONE: 18,
  MARK_MASK: 21,
  FILTER: 25,
} as const
const CTA_TUPLE = { IP: 1, PROTO: 2, ZONE: 3 } as const
const CTA_IP = { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } as const
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 } as const
const CTA_PROTOINFO_TCP = 1
const CTA_PROTOINFO_TCP_STATE = 1
const CTA_COUNTERS = { PACKETS: 1, BYTES: 2 } as const
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const
/** net/netfilter/nf_internals.h: CTA_FILTER_F_*. */
const FILTER_FLAG = { IP_SRC: 1, IP_DST: 2, PROTO_NUM: 8, SRC_PORT: 16, DST_PORT: 32 } as const
/** include/uapi/linux/netfilter/nf_conntrack_common.h: IPS_*. */
const IPS = { SEEN_REPLY: 2, ASSURED: 4, SRC_NAT: 16, DST_NAT: 32, OFFLOAD: 1 << 14 } as const
const REMEMBERED_ADDRESSES = 4096
const v6Texts = new Map<string, string>()
const ALL_BITS = 0xffff_ffff
/** struct nfgenmsg. */
const HEADER_BYTES = 4
const IPPROTO = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const
/** The flow of one ctnetlink message, or undefined where it is cut or of another family. */
export function parseFlow(message: Buffer): Flow | undefined {
  const family = message.length < HEADER_BYTES ? undefined : familyOf(message[0])
  if (family === undefined) return undefined
  let original: Tuple | undefined
  let reply: Tuple | undefined
  let tcpState: TcpFlowState | undefined
  let timeoutSeconds: number | undefined
  let originalCounters: FlowCounters | undefined
  let replyCounters: FlowCounters | undefined
  let [status, mark, id, zone] = [0, 0, 0, 0]
  visitAttributes(message, HEADER_BYTES, message.length, (type, start, end) => {
    if (type === CTA.TUPLE_ORIG) original = parseTuple(message, start, end)
    else if (type === CTA.TUPLE_REPLY) reply = parseTuple(message, start, end)
    else if (type === CTA.PROTOINFO) tcpState = parseTcpState(message, start, end)
    else if (type === CTA.COUNTERS_ORIG) originalCounters = parseCounters(message, start, end)
    else if (type === CTA.COUNTERS_REPLY) replyCounters = parseCounters(message, start, end)
    else if (type === CTA.ZONE && end - start >= 2) zone = message.readUInt16BE(start)
    else if (end - start < 4) return
    else if (type === CTA.STATUS) status = message.readUInt32BE(start)
    else if (type === CTA.TIMEOUT) timeoutSeconds = message.readUInt32BE(start)
    else if (type === CTA.MARK) mark = message.readUInt32BE(start)
    else if (type === CTA.ID) id = message.readUInt32BE(start)
  })
  if (original === undefined || reply === undefined) return undefined
  return {
    family,
    protocol: original.protocol,
    original: original.tuple,
    reply: reply.tuple,
    tcpState,
    mark,
    zone: zone === 0 ? original.zone : zone,
    hasReply: (status & IPS.SEEN_REPLY) !== 0,
    isAssured: (status & IPS.ASSURED) !== 0,
    isSourceNat: (status & IPS.SRC_NAT) !== 0,
    isDestinationNat: (status & IPS.DST_NAT) !== 0,
    isOffloaded: (status & IPS.OFFLOAD) !== 0,
    timeoutSeconds,
    originalCounters,
    replyCounters,
    id,
  }
}

/**
 * What asks for the flows of a filter, in one question or one for each family: as much of it as kernels
 * compare themselves, which spares the reading of all others. Kernels before 5.8 compare the mark only,
 * so the answer is to be filtered too. Throws IpError `IP_BAD_ADDRESS`.
 */
export function composeQueries(filter: FlowFilter): readonly Buffer[] {
  const { mark, protocol, original = {}, reply = {} } = filter
  const marked =
    mark === undefined
      ? []
      : [
          attribute(CTA.MARK, uint32(mark.value)),
          attribute(CTA.MARK_MASK, uint32(mark.mask ?? ALL_BITS)),
        ]
  const family = filterFamily(filter)
  if (family === undefined && protocol === undefined) {
    return [Buffer.concat([composeHeader(undefined), ...marked])]
  }
  // Protocols and ports it compares within one family only.
  return (family === undefined ? ([4, 6] as const) : [family]).map(one => {
    const tuples = [composeTuple(one, protocol, original), composeTuple(one, protocol, reply)]
    const [first, second] = tuples.map(({ flags }) => flags)
    if (!first && !second) return Buffer.concat([composeHeader(one), ...marked])
    return Buffer.concat([
      composeHeader(one),
      ...marked,
      nested(CTA.TUPLE_ORIG, ...(tuples[0]?.parts ?? [])),
      nested(CTA.TUPLE_REPLY, ...(tuples[1]?.parts ?? [])),
      nested(
        CTA.FILTER,
        attribute(CTA_FILTER.ORIG_FLAGS, first ?? 0),
        attribute(CTA_FILTER.REPLY_FLAGS, second ?? 0),
      ),
    ])
  })
}

/**
 * What removes exactly the entry of a message: by its tuple, zone and id as they came. Undefined where
 * one is missing, as the kernel takes a removal without a tuple for "all".
 */
export function composeRemoval(message: Buffer): Buffer | undefined {
  const family = message.length < HEADER_BYTES ? undefined : familyOf(message[0])
  if (family === undefined) return undefined
  const identity = new Map<number, Buffer>()
  visitAttributes(message, HEADER_BYTES, message.length, (type, start, end) => {
    if (type !== CTA.TUPLE_ORIG && type !== CTA.ZONE && type !== CTA.ID) return
    const header = type === CTA.TUPLE_ORIG ? nested : attribute
    identity.set(type, header(type, message.subarray(start, end)))
  })
  if (!identity.has(CTA.TUPLE_ORIG) || !identity.has(CTA.ID)) return undefined
  return Buffer.concat([composeHeader(family), ...identity.values()])
}

interface Tuple {
  readonly protocol: FlowProtocol
  readonly tuple: FlowTuple
  readonly zone: number
}

function parseTuple(bytes: Buffer, from: number, to: number): Tuple | undefined {
  let source: string | undefined
  let destination: string | undefined
  let protocol: number | undefined
  let [sourcePort, destinationPort, zone] = [0, 0, 0]
  visitAttributes(bytes, from, to, (type, start, end) => {
    if (type === CTA_TUPLE.IP) {
      visitAttributes(bytes, start, end, (kind, at, until) => {
        if (kind === CTA_IP.V4_SRC || kind === CTA_IP.V6_SRC) source = textAt(bytes, at, until)
        else if (kind === CTA_IP.V4_DST || kind === CTA_IP.V6_DST) {
          destination = textAt(bytes, at, until)
        }
      })
    } else if (type === CTA_TUPLE.PROTO) {
      visitAttributes(bytes, start, end, (kind, at, until) => {
        if (kind === CTA_PROTO.NUM && until > at) protocol = bytes.readUInt8(at)
        else if (until - at < 2) return
        else if (kind === CTA_PROTO.SRC_PORT) sourcePort = bytes.readUInt16BE(at)
        else if (kind === CTA_PROTO.DST_PORT) destinationPort = bytes.readUInt16BE(at)
      })
    } else if (type === CTA_TUPLE.ZONE && end - start >= 2) zone = bytes.readUInt16BE(start)
  })
  if (source === undefined || destination === undefined || protocol === undefined) return undefined
  const tuple = { source, destination, sourcePort, destinationPort }
  return { protocol: protocolOf(protocol), tuple, zone }
}

function parseTcpState(bytes: Buffer, from: number, to: number): TcpFlowState | undefined {
  let state: TcpFlowState | undefined
  visitAttributes(bytes, from, to, (type, start, end) => {
    if (type !== CTA_PROTOINFO_TCP) return
    visitAttributes(bytes, start, end, (kind, at, until) => {
      if (kind === CTA_PROTOINFO_TCP_STATE && until > at)
        state = TCP_FLOW_STATES[bytes.readUInt8(at)]
    })
  })
  return state
}

function parseCounters(bytes: Buffer, from: number, to: number): FlowCounters {
  let [packets, total] = [0, 0]
  visitAttributes(bytes, from, to, (type, start, end) => {
    if (end - start < 8) return
    const value = bytes.readUInt32BE(start) * 2 ** 32 + bytes.readUInt32BE(start + 4)
    if (type === CTA_COUNTERS.PACKETS) packets = value
    else if (type === CTA_COUNTERS.BYTES) total = value
  })
  return { packets, bytes: total }
}

function textAt(bytes: Buffer, start: number, end: number): string | undefined {
  const length = end - start
  if (length === 4) {
    return `${bytes[start]}.${bytes[start + 1]}.${bytes[start + 2]}.${bytes[start + 3]}`
  }
  return length === 16 ? textOfV6(bytes, start, end) : undefined
}

/** Remembers some, as flows share their ends and the text of an IPv6 address is what costs. */
function textOfV6(bytes: Buffer, start: number, end: number): string {
  const key = bytes.toString('latin1', start, end)
  const known = v6Texts.get(key)
  if (known !== undefined) return known
  if (v6Texts.size === REMEMBERED_ADDRESSES) v6Texts.clear()
  const text = formatAddress(addressOfBytes(bytes.subarray(start, end)))
  v6Texts.set(key, text)
  return text
}

function protocolOf(number: number): FlowProtocol {
  if (number === IPPROTO.tcp) return 'tcp'
  if (number === IPPROTO.udp) return 'udp'
  if (number === IPPROTO.sctp) return 'sctp'
  return number === IPPROTO.icmp || number === IPPROTO.icmpv6 ? 'icmp' : number
}

function composeTuple(
  family: Family,
  protocol: FlowProtocol | undefined,
  tuple: Partial<FlowTuple>,
): { readonly parts: readonly Buffer[]; readonly flags: number } {
  const ip: Buffer[] = []
  const proto: Buffer[] = []
  let flags = 0
  const put = (to: Buffer[], flag: number, type: number, data: Uint8Array): void => {
    flags |= flag
    to.push(attribute(type, data))
  }
  const { source, destination, sourcePort, destinationPort } = tuple
  const [from, to] = [v4Bytes(source), v4Bytes(destination)]
  if (family === 4 && from) put(ip, FILTER_FLAG.IP_SRC, CTA_IP.V4_SRC, from)
  if (family === 4 && to) put(ip, FILTER_FLAG.IP_DST, CTA_IP.V4_DST, to)
  if (protocol === undefined) return { parts: [nested(CTA_TUPLE.IP, ...ip)], flags }
  put(proto, FILTER_FLAG.PROTO_NUM, CTA_PROTO.NUM, Buffer.from([numberOf(protocol, family)]))
  // Of others it holds something else in the place of ports.
  const hasPorts = protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp'
  if (hasPorts && sourcePort !== undefined) {
    put(proto, FILTER_FLAG.SRC_PORT, CTA_PROTO.SRC_PORT, uint16(sourcePort))
  }
  if (hasPorts && destinationPort !== undefined) {
    put(proto, FILTER_FLAG.DST_PORT, CTA_PROTO.DST_PORT, uint16(destinationPort))
  }
  return { parts: [nested(CTA_TUPLE.IP, ...ip), nested(CTA_TUPLE.PROTO, ...proto)], flags }
}

/** IPv6 addresses the kernel compares the wrong way round (up to 6.18): what is asked, it leaves out. */
function v4Bytes(text: string | undefined): Uint8Array | undefined {
  const address = text === undefined ? undefined : parseAddress(text)
  return address?.family === 4 ? addressBytes(address) : undefined
}

function numberOf(protocol: FlowProtocol, family: Family): number {
  if (typeof protocol === 'number') return protocol
  return protocol === 'icmp' && family === 6 ? IPPROTO.icmpv6 : IPPROTO[protocol]
}

function filterFamily({ family, original, reply }: FlowFilter): Family | undefined {
  const address = original?.source ?? original?.destination ?? reply?.source ?? reply?.destination
  return family ?? (address === undefined ? undefined : parseAddress(address).family)
}

function composeHeader(family: Family | undefined): Buffer {
  return Buffer.from([family === undefined ? 0 : familyNumber(family), 0, 0, 0])
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}
