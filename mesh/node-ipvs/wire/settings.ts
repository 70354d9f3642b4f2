/** The bytes of time-outs and of what IPVS says of itself. Pure. Linux: include/uapi/linux/ip_vs.h. */
import type { Info, Timeouts } from '../settings.js'
import { parseAttributes, readU32, u32 } from './attribute.js'

const CMD_ATTR = { TIMEOUT_TCP: 4, TIMEOUT_TCP_FIN: 5, TIMEOUT_UDP: 6 }
const INFO_ATTR = { VERSION: 1, CONN_TAB_SIZE: 2 }

/** 0, and what is left out, stay unchanged. */
export function composeTimeouts(timeouts: Partial<Timeouts>): readonly Buffer[] {
  return [
    u32(CMD_ATTR.TIMEOUT_TCP, timeouts.tcpSeconds ?? 0),
    u32(CMD_ATTR.TIMEOUT_TCP_FIN, timeouts.tcpFinSeconds ?? 0),
    u32(CMD_ATTR.TIMEOUT_UDP, timeouts.udpSeconds ?? 0),
  ]
}

/** Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseTimeouts(bytes: Buffer): Timeouts {
  const attributes = parseAttributes(bytes)
  return {
    tcpSeconds: readU32(attributes, CMD_ATTR.TIMEOUT_TCP),
    tcpFinSeconds: readU32(attributes, CMD_ATTR.TIMEOUT_TCP_FIN),
    udpSeconds: readU32(attributes, CMD_ATTR.TIMEOUT_UDP),
  }
}

/** Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseInfo(bytes: Buffer): Info {
  const attributes = parseAttributes(bytes)
  const version = readU32(attributes, INFO_ATTR.VERSION)
  return {
    version: `${version >>> 16}.${(version >>> 8) & 0xff}.${version & 0xff}`,
    connectionTableSize: readU32(attributes, INFO_ATTR.CONN_TAB_SIZE),
  }
}
