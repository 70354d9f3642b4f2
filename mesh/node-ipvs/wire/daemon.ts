/** The bytes of a sync daemon. Pure. Linux: include/uapi/linux/ip_vs.h, IPVS_DAEMON_ATTR_*. */
import type { SyncDaemon, SyncDaemonStatus, SyncState } from '../daemon.js'
import { badReply } from '../error.js'
import { composeAddress, parseAddress } from './address.js'
import {
  attribute,
  parseAttributes,
  readBytes,
  readText,
  readU16,
  readU32,
  readU8,
  text,
  u16,
  u32,
  u8,
  type Attributes,
} from './attribute.js'

/** In a command or reply. */
export const DAEMON = 3

const ATTR = {
  STATE: 1,
  MCAST_IFN: 2,
  SYNC_ID: 3,
  SYNC_MAXLEN: 4,
  MCAST_GROUP: 5,
  MCAST_GROUP6: 6,
  MCAST_PORT: 7,
  MCAST_TTL: 8,
}

const STATE: Readonly<Record<SyncState, number>> = { master: 1, backup: 2 }

/** The attribute that names a daemon. */
export function composeSyncState(state: SyncState): Buffer {
  return u32(ATTR.STATE, STATE[state])
}

/** The attributes that start a daemon. `daemon` is canonical. */
export function composeDaemon(daemon: SyncDaemon): Buffer {
  const { maxLength, group, port, ttl } = daemon
  return Buffer.concat([
    composeSyncState(daemon.state),
    text(ATTR.MCAST_IFN, daemon.interface),
    u32(ATTR.SYNC_ID, daemon.syncId),
    ...(maxLength === undefined ? [] : [u16(ATTR.SYNC_MAXLEN, maxLength)]),
    ...(group === undefined ? [] : [composeGroup(group)]),
    // Unlike the ports of services, in the machine's order.
    ...(port === undefined ? [] : [u16(ATTR.MCAST_PORT, port)]),
    ...(ttl === undefined ? [] : [u8(ATTR.MCAST_TTL, ttl)]),
  ])
}

/** The DAEMON nest of a reply. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseDaemon(bytes: Buffer): SyncDaemonStatus {
  const attributes = parseAttributes(bytes)
  const number = readU32(attributes, ATTR.STATE)
  const state = (['master', 'backup'] as const).find(name => STATE[name] === number)
  if (state === undefined) throw badReply(`The reply has a sync daemon in state ${number}`)
  return {
    state,
    interface: readText(attributes, ATTR.MCAST_IFN),
    syncId: readU32(attributes, ATTR.SYNC_ID),
    maxLength: readU16(attributes, ATTR.SYNC_MAXLEN),
    group: parseGroup(attributes),
    port: readU16(attributes, ATTR.MCAST_PORT),
    ttl: readU8(attributes, ATTR.MCAST_TTL),
  }
}

function composeGroup(group: string): Buffer {
  const { family, bytes } = parseAddress(group, 'daemon multicast group')
  return attribute(family === 4 ? ATTR.MCAST_GROUP : ATTR.MCAST_GROUP6, bytes)
}

function parseGroup(attributes: Attributes): string {
  if (!attributes.has(ATTR.MCAST_GROUP6)) {
    const bytes = readBytes(attributes, ATTR.MCAST_GROUP, 4).subarray(0, 4)
    return composeAddress({ family: 4, bytes })
  }
  const bytes = readBytes(attributes, ATTR.MCAST_GROUP6, 16).subarray(0, 16)
  return composeAddress({ family: 6, bytes })
}
