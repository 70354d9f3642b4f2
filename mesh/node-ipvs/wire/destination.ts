/** The bytes of a destination. Pure. Linux: include/uapi/linux/ip_vs.h, IPVS_DEST_ATTR_*. */
import { TUNNEL_FLAGS } from '../canonical.js'
import type {
  Destination,
  DestinationId,
  DestinationStatus,
  Forwarding,
  TunnelFlag,
} from '../destination.js'
import { badReply } from '../error.js'
import { AF, composeAddress, parseAddress } from './address.js'
import {
  attribute,
  parseAttributes,
  readBytes,
  readU16,
  readU16Network,
  readU32,
  readU8,
  u16,
  u16Network,
  u32,
  u8,
  type Attributes,
} from './attribute.js'
import { parseFamily } from './service.js'
import { parseStats } from './stats.js'

/** In a command or reply. */
export const DESTINATION = 2

const ATTR = {
  ADDR: 1,
  PORT: 2,
  FWD_METHOD: 3,
  WEIGHT: 4,
  U_THRESH: 5,
  L_THRESH: 6,
  ACTIVE_CONNS: 7,
  INACT_CONNS: 8,
  PERSIST_CONNS: 9,
  STATS: 10,
  ADDR_FAMILY: 11,
  STATS64: 12,
  TUN_TYPE: 13,
  TUN_PORT: 14,
  TUN_FLAGS: 15,
}

const METHODS = ['masquerade', 'local', 'tunnel', 'direct-route', 'bypass'] as const
/** The rest of the field tells of connections. IP_VS_CONN_F_FWD_MASK. */
const METHOD_MASK = 0x7
const ENCAPSULATIONS = ['ipip', 'gue', 'gre'] as const

/** The attributes that name a destination. `id` is canonical. */
export function composeDestinationId(id: DestinationId): Buffer {
  const { family, bytes } = parseAddress(id.address, 'destination address')
  return Buffer.concat([
    attribute(ATTR.ADDR, bytes),
    u16Network(ATTR.PORT, id.port),
    u16(ATTR.ADDR_FAMILY, AF[family]),
  ])
}

/** The attributes that make or change a destination. `destination` is canonical. */
export function composeDestination(destination: Destination): Buffer {
  const { forwarding } = destination
  return Buffer.concat([
    composeDestinationId(destination),
    u32(ATTR.FWD_METHOD, METHODS.indexOf(forwarding.kind)),
    u32(ATTR.WEIGHT, destination.weight),
    u32(ATTR.U_THRESH, destination.upperThreshold ?? 0),
    u32(ATTR.L_THRESH, destination.lowerThreshold ?? 0),
    ...composeTunnel(forwarding),
  ])
}

/** The DEST nest of a reply. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseDestination(bytes: Buffer): DestinationStatus {
  const attributes = parseAttributes(bytes)
  const upperThreshold = readU32(attributes, ATTR.U_THRESH)
  const lowerThreshold = readU32(attributes, ATTR.L_THRESH)
  return {
    destination: {
      address: parseDestinationAddress(attributes),
      port: readU16Network(attributes, ATTR.PORT),
      weight: readU32(attributes, ATTR.WEIGHT),
      forwarding: parseForwarding(attributes),
      ...(upperThreshold === 0 ? {} : { upperThreshold }),
      ...(lowerThreshold === 0 ? {} : { lowerThreshold }),
    },
    activeConnections: readU32(attributes, ATTR.ACTIVE_CONNS),
    inactiveConnections: readU32(attributes, ATTR.INACT_CONNS),
    persistentConnections: readU32(attributes, ATTR.PERSIST_CONNS),
    stats: parseStats(attributes, ATTR.STATS, ATTR.STATS64),
  }
}

function parseDestinationAddress(attributes: Attributes): string {
  const family = parseFamily(readU16(attributes, ATTR.ADDR_FAMILY))
  const size = family === 4 ? 4 : 16
  const bytes = readBytes(attributes, ATTR.ADDR, size).subarray(0, size)
  return composeAddress({ family, bytes })
}

function composeTunnel(forwarding: Forwarding): readonly Buffer[] {
  if (forwarding.kind !== 'tunnel') return []
  const type = u8(ATTR.TUN_TYPE, ENCAPSULATIONS.indexOf(forwarding.encapsulation))
  if (forwarding.encapsulation === 'ipip') return [type]
  const chosen = forwarding.flags ?? []
  const bits = TUNNEL_FLAGS.reduce(
    (sum, flag, i) => (chosen.includes(flag) ? sum | (1 << i) : sum),
    0,
  )
  const port =
    forwarding.encapsulation === 'gue' ? [u16Network(ATTR.TUN_PORT, forwarding.port)] : []
  return [type, ...port, u16(ATTR.TUN_FLAGS, bits)]
}

function parseForwarding(attributes: Attributes): Forwarding {
  const number = readU32(attributes, ATTR.FWD_METHOD) & METHOD_MASK
  const kind = METHODS[number]
  if (kind === undefined) throw badReply(`The reply has forwarding method ${number}`)
  if (kind !== 'tunnel') return { kind }
  // Kernels before 5.3 know one kind of tunnel, and do not say so.
  const type = attributes.has(ATTR.TUN_TYPE) ? readU8(attributes, ATTR.TUN_TYPE) : 0
  const encapsulation = ENCAPSULATIONS[type]
  if (encapsulation === undefined) throw badReply(`The reply has tunnel type ${type}`)
  if (encapsulation === 'ipip') return { kind, encapsulation }
  const flags = parseTunnelFlags(readU16(attributes, ATTR.TUN_FLAGS))
  if (encapsulation === 'gre') return { kind, encapsulation, ...flags }
  return { kind, encapsulation, port: readU16Network(attributes, ATTR.TUN_PORT), ...flags }
}

function parseTunnelFlags(bits: number): { readonly flags?: readonly TunnelFlag[] } {
  const flags = TUNNEL_FLAGS.filter((_, i) => (bits & (1 << i)) !== 0)
  return flags.length === 0 ? {} : { flags }
}
