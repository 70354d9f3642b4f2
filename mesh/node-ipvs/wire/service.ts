/** The bytes of a service. Pure. Linux: include/uapi/linux/ip_vs.h, IPVS_SVC_ATTR_*. */
import { describeMask, familyOf, SERVICE_FLAGS } from '../canonical.js'
import { badReply } from '../error.js'
import type {
  Family,
  Persistence,
  Protocol,
  Service,
  ServiceId,
  ServiceStatus,
} from '../service.js'
import { AF, composeAddress, parseAddress } from './address.js'
import {
  attribute,
  parseAttributes,
  readBytes,
  readText,
  readU16,
  readU16Network,
  readU32,
  text,
  u16,
  u16Network,
  u32,
  type Attributes,
} from './attribute.js'
import { parseStats } from './stats.js'

/** In a command or reply. */
export const SERVICE = 1

const ATTR = {
  AF: 1,
  PROTOCOL: 2,
  ADDR: 3,
  PORT: 4,
  FWMARK: 5,
  SCHED_NAME: 6,
  FLAGS: 7,
  TIMEOUT: 8,
  NETMASK: 9,
  STATS: 10,
  PE_NAME: 11,
  STATS64: 12,
}

const PROTOCOL: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, sctp: 132 }
const PERSISTENT = 0x1
/** In the order of SERVICE_FLAGS. 0x2 is the kernel's own: the service is in its table. */
const FLAG_BITS = [0x4, 0x8, 0x10, 0x20]
const ALL_BITS = FLAG_BITS.reduce((bits, bit) => bits | bit, PERSISTENT)

/** The attributes that name a service. `id` is canonical. */
export function composeServiceId(id: ServiceId): Buffer {
  const family = u16(ATTR.AF, AF[familyOf(id)])
  if (id.kind === 'fwmark') return Buffer.concat([family, u32(ATTR.FWMARK, id.mark)])
  return Buffer.concat([
    family,
    u16(ATTR.PROTOCOL, PROTOCOL[id.protocol]),
    attribute(ATTR.ADDR, parseAddress(id.address, 'service address').bytes),
    u16Network(ATTR.PORT, id.port),
  ])
}

/** The attributes that make or change a service. `service` is canonical. */
export function composeService(service: Service): Buffer {
  const { persistence } = service
  const chosen = service.flags ?? []
  const bits = SERVICE_FLAGS.reduce(
    (sum, flag, i) => (chosen.includes(flag) ? sum | (FLAG_BITS[i] ?? 0) : sum),
    persistence === undefined ? 0 : PERSISTENT,
  )
  const flags = Buffer.alloc(8)
  flags.writeUInt32LE(bits, 0)
  flags.writeUInt32LE(ALL_BITS, 4)
  const engine = service.persistenceEngine
  return Buffer.concat([
    composeServiceId(service),
    text(ATTR.SCHED_NAME, service.scheduler),
    attribute(ATTR.FLAGS, flags),
    u32(ATTR.TIMEOUT, persistence?.timeoutSeconds ?? 0),
    attribute(ATTR.NETMASK, composeMask(persistence, familyOf(service))),
    ...(engine === undefined ? [] : [text(ATTR.PE_NAME, engine)]),
  ])
}

/** The SERVICE nest of a reply. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseService(bytes: Buffer): ServiceStatus {
  const attributes = parseAttributes(bytes)
  const id = parseServiceId(attributes)
  const bits = readU32(attributes, ATTR.FLAGS)
  const flags = SERVICE_FLAGS.filter((_, i) => (bits & (FLAG_BITS[i] ?? 0)) !== 0)
  const isPersistent = (bits & PERSISTENT) !== 0
  const engine = attributes.has(ATTR.PE_NAME) ? readText(attributes, ATTR.PE_NAME) : ''
  const service: Service = {
    ...id,
    scheduler: attributes.has(ATTR.SCHED_NAME) ? readText(attributes, ATTR.SCHED_NAME) : 'none',
    ...(flags.length === 0 ? {} : { flags }),
    ...(isPersistent ? { persistence: parsePersistence(attributes, familyOf(id)) } : {}),
    ...(engine === '' ? {} : { persistenceEngine: engine }),
  }
  return { service, stats: parseStats(attributes, ATTR.STATS, ATTR.STATS64) }
}

function parseServiceId(attributes: Attributes): ServiceId {
  const family = parseFamily(readU16(attributes, ATTR.AF))
  if (attributes.has(ATTR.FWMARK)) {
    return { kind: 'fwmark', family, mark: readU32(attributes, ATTR.FWMARK) }
  }
  const number = readU16(attributes, ATTR.PROTOCOL)
  const protocol = (['tcp', 'udp', 'sctp'] as const).find(name => PROTOCOL[name] === number)
  if (protocol === undefined) throw badReply(`The reply has a service of protocol ${number}`)
  const size = family === 4 ? 4 : 16
  // The kernel gives IPv4 in 16 bytes, too.
  const bytes = readBytes(attributes, ATTR.ADDR, size).subarray(0, size)
  const port = readU16Network(attributes, ATTR.PORT)
  return { kind: 'address', protocol, address: composeAddress({ family, bytes }), port }
}

/** AF_INET or AF_INET6. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseFamily(number: number): Family {
  if (number === AF[4]) return 4
  if (number === AF[6]) return 6
  throw badReply(`The reply has address family ${number}, which is neither IPv4 nor IPv6`)
}

function parsePersistence(attributes: Attributes, family: Family): Persistence {
  const timeoutSeconds = readU32(attributes, ATTR.TIMEOUT)
  if (family === 6) return { timeoutSeconds, prefixLength: readU32(attributes, ATTR.NETMASK) }
  return { timeoutSeconds, ...describeMask(readBytes(attributes, ATTR.NETMASK, 4)) }
}

/** IPv4: the mask, in network order. IPv6: the prefix length, in the machine's order. */
function composeMask(persistence: Persistence | undefined, family: Family): Buffer {
  if (persistence?.netmask !== undefined) {
    return parseAddress(persistence.netmask, 'persistence netmask').bytes
  }
  const bytes = Buffer.alloc(4)
  const length = persistence?.prefixLength ?? (family === 4 ? 32 : 128)
  if (family === 6) bytes.writeUInt32LE(length)
  // A shift by 32 bits would shift by none.
  else bytes.writeUInt32BE(length === 0 ? 0 : (0xffff_ffff << (32 - length)) >>> 0)
  return bytes
}
