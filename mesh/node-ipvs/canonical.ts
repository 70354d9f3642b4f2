/**
 * The canonical form of what a caller wishes, in which it is sent, read back and compared: addresses
 * as RFC 5952 writes them, defaults left out, flags in one order. Throws IpvsError `IPVS_BAD_INPUT`
 * for what the kernel would refuse, misunderstand or quietly cut. Pure.
 */
import type { SyncDaemon } from './daemon.js'
import type { Destination, DestinationId, Forwarding, TunnelFlag } from './destination.js'
import { badInput } from './error.js'
import * as input from './input.js'
import type { Family, Persistence, Protocol, Service, ServiceFlag, ServiceId } from './service.js'
import type { Timeouts } from './settings.js'
import { composeAddress } from './wire/address.js'

const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp']
const FAMILIES: readonly Family[] = [4, 6]
export const SERVICE_FLAGS: readonly ServiceFlag[] = [
  'one-packet',
  'fallback',
  'source-port',
  'scheduler-3',
]
export const TUNNEL_FLAGS: readonly TunnelFlag[] = ['checksum', 'remote-checksum']
const ENCAPSULATIONS = ['ipip', 'gue', 'gre'] as const
const METHODS = ['masquerade', 'local', 'direct-route', 'bypass', 'tunnel'] as const
/** The kernel multiplies by its ticks, at most 1000 a second, in 32 bits. */
const MOST_PERSISTENCE_SECONDS = 4_294_967
const MOST_WEIGHT = 0x7fff_ffff

/** Throws IpvsError `IPVS_BAD_INPUT`. */
export function canonicalServiceId(id: ServiceId): ServiceId {
  if (id.kind === 'fwmark') {
    const family = input.checkChoice(id.family, 'address family', FAMILIES)
    return { kind: 'fwmark', family, mark: input.checkNumber(id.mark, 'mark', 1, input.MOST_U32) }
  }
  input.checkChoice(id.kind, 'kind of service', ['address'])
  const protocol = input.checkChoice(id.protocol, 'protocol', PROTOCOLS)
  const address = composeAddress(input.checkAddress(id.address, 'service address'))
  const port = input.checkNumber(id.port, 'service port', 0, input.MOST_PORT)
  return { kind: 'address', protocol, address, port }
}

/** Throws IpvsError `IPVS_BAD_INPUT`. */
export function canonicalService(service: Service): Service {
  const id = canonicalServiceId(service)
  const flags = input.checkChoices(service.flags ?? [], 'service flag', SERVICE_FLAGS)
  if (id.kind === 'address') {
    if (flags.includes('one-packet') && id.protocol !== 'udp') {
      throw badInput(`The service flag "one-packet" is for udp, and this service is ${id.protocol}`)
    }
    if (id.port === 0 && service.persistence === undefined) {
      throw badInput('The service port 0, which is every port, needs persistence')
    }
  }
  const { persistence, persistenceEngine: engine } = service
  return {
    ...id,
    scheduler: input.checkName(service.scheduler, 'scheduler'),
    ...(flags.length === 0 ? {} : { flags }),
    ...(persistence === undefined
      ? {}
      : { persistence: canonicalPersistence(persistence, familyOf(id)) }),
    ...(engine === undefined
      ? {}
      : { persistenceEngine: input.checkName(engine, 'persistence engine') }),
  }
}

/** Throws IpvsError `IPVS_BAD_INPUT`. */
export function canonicalDestinationId(id: DestinationId): DestinationId {
  const address = composeAddress(input.checkAddress(id.address, 'destination address'))
  return { address, port: input.checkNumber(id.port, 'destination port', 0, input.MOST_PORT) }
}

/** `service` is the one it serves: only a tunnel joins two families. Throws IpvsError `IPVS_BAD_INPUT`. */
export function canonicalDestination(destination: Destination, service: ServiceId): Destination {
  const id = canonicalDestinationId(destination)
  const forwarding = canonicalForwarding(destination.forwarding)
  const weight = input.checkNumber(destination.weight, 'weight', 0, MOST_WEIGHT)
  const threshold = (value: number | undefined, name: string): number =>
    input.checkNumber(value ?? 0, name, 0, input.MOST_U32)
  const upper = threshold(destination.upperThreshold, 'upper threshold')
  const lower = threshold(destination.lowerThreshold, 'lower threshold')
  if (lower > upper) {
    throw badInput(`The lower threshold ${lower} is above the upper threshold ${upper}`)
  }
  const family = familyOfAddress(id.address)
  if (family !== familyOf(service) && forwarding.kind !== 'tunnel') {
    throw badInput(
      `The destination address "${id.address}" is of the other family than its service, ` +
        `which only a tunnel can join`,
    )
  }
  return {
    ...id,
    weight,
    forwarding,
    ...(upper === 0 ? {} : { upperThreshold: upper }),
    ...(lower === 0 ? {} : { lowerThreshold: lower }),
  }
}

/** Throws IpvsError `IPVS_BAD_INPUT`. */
export function canonicalDaemon(daemon: SyncDaemon): SyncDaemon {
  const { maxLength, group, port, ttl } = daemon
  const { checkNumber, MOST_PORT } = input
  return {
    state: input.checkChoice(daemon.state, 'daemon state', ['master', 'backup']),
    interface: input.checkName(daemon.interface, 'daemon interface'),
    syncId: checkNumber(daemon.syncId, 'sync id', 0, 255),
    ...(maxLength === undefined
      ? {}
      : { maxLength: checkNumber(maxLength, 'daemon message length', 1, 0xffff) }),
    ...(group === undefined ? {} : { group: canonicalGroup(group) }),
    ...(port === undefined ? {} : { port: checkNumber(port, 'daemon port', 1, MOST_PORT) }),
    ...(ttl === undefined ? {} : { ttl: checkNumber(ttl, 'daemon ttl', 1, 255) }),
  }
}

/** Throws IpvsError `IPVS_BAD_INPUT`. Left out: unchanged. */
export function canonicalTimeouts(timeouts: Partial<Timeouts>): Partial<Timeouts> {
  const kept = Object.entries(timeouts).filter(([, seconds]) => seconds !== undefined)
  for (const [name, seconds] of kept) {
    input.checkChoice(name, 'timeout', ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'])
    // Of 0 the kernel makes "unchanged".
    input.checkNumber(seconds, `timeout ${name}`, 1, 0x7fff_ffff)
  }
  return Object.fromEntries(kept)
}

export function familyOf(id: ServiceId): Family {
  return id.kind === 'fwmark' ? id.family : familyOfAddress(id.address)
}

function familyOfAddress(address: string): Family {
  return address.includes(':') ? 6 : 4
}

function canonicalPersistence(persistence: Persistence, family: Family): Persistence {
  const { timeoutSeconds, prefixLength, netmask } = persistence
  input.checkNumber(timeoutSeconds, 'persistence timeout', 1, MOST_PERSISTENCE_SECONDS)
  if (netmask === undefined) {
    const [least, most] = family === 4 ? [0, 32] : [1, 128]
    const length = prefixLength ?? most
    input.checkNumber(length, 'persistence prefix length', least, most)
    return { timeoutSeconds, prefixLength: length }
  }
  const mask = input.checkAddress(netmask, 'persistence netmask')
  if (prefixLength !== undefined || family !== 4 || mask.family !== 4) {
    throw badInput(`The persistence netmask "${netmask}" is for IPv4, without a prefix length`)
  }
  return { timeoutSeconds, ...describeMask(mask.bytes) }
}

/** An IPv4 mask by its length, where it is a prefix. */
export function describeMask(bytes: Buffer): { prefixLength: number } | { netmask: string } {
  const inverse = ~bytes.readUInt32BE() >>> 0
  const isPrefix = (inverse & (inverse + 1)) === 0
  if (isPrefix) return { prefixLength: Math.clz32(inverse) }
  return { netmask: composeAddress({ family: 4, bytes }) }
}

function canonicalForwarding(forwarding: Forwarding): Forwarding {
  input.checkChoice(forwarding.kind, 'forwarding method', METHODS)
  if (forwarding.kind !== 'tunnel') return { kind: forwarding.kind }
  const { kind, encapsulation } = forwarding
  input.checkChoice(encapsulation, 'tunnel encapsulation', ENCAPSULATIONS)
  if (encapsulation === 'ipip') return { kind, encapsulation }
  const chosen = input.checkChoices(forwarding.flags ?? [], 'tunnel flag', TUNNEL_FLAGS)
  const flags = chosen.length === 0 ? {} : { flags: chosen }
  if (encapsulation === 'gre') return { kind, encapsulation, ...flags }
  const port = input.checkNumber(forwarding.port, 'tunnel port', 1, input.MOST_PORT)
  return { kind, encapsulation, port, ...flags }
}

function canonicalGroup(group: string): string {
  const address = input.checkAddress(group, 'daemon multicast group')
  const first = address.bytes[0] ?? 0
  const isMulticast = address.family === 4 ? first >> 4 === 0xe : first === 0xff
  if (isMulticast) return composeAddress(address)
  throw badInput(`The daemon multicast group "${group}" is no multicast address`)
}
