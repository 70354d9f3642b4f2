/** The counters of a service or destination, in their 32-bit and 64-bit nests. Pure. */
import type { Stats } from '../stats.js'
import { readNest, readU32, readU64, type Attributes } from './attribute.js'

/** Linux: include/uapi/linux/ip_vs.h, IPVS_STATS_ATTR_*. */
const ATTR = {
  CONNS: 1,
  INPKTS: 2,
  OUTPKTS: 3,
  INBYTES: 4,
  OUTBYTES: 5,
  CPS: 6,
  INPPS: 7,
  OUTPPS: 8,
  INBPS: 9,
  OUTBPS: 10,
}

/** From STATS64 where the kernel has it (4.1), else from STATS. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseStats(attributes: Attributes, narrow: number, wide: number): Stats {
  const isWide = attributes.has(wide)
  const nest = readNest(attributes, isWide ? wide : narrow)
  // The byte counts have 64 bits in both.
  const read = (type: number): bigint =>
    isWide ? readU64(nest, type) : BigInt(readU32(nest, type))
  return {
    connections: read(ATTR.CONNS),
    incomingPackets: read(ATTR.INPKTS),
    outgoingPackets: read(ATTR.OUTPKTS),
    incomingBytes: readU64(nest, ATTR.INBYTES),
    outgoingBytes: readU64(nest, ATTR.OUTBYTES),
    connectionsPerSecond: read(ATTR.CPS),
    incomingPacketsPerSecond: read(ATTR.INPPS),
    outgoingPacketsPerSecond: read(ATTR.OUTPPS),
    incomingBytesPerSecond: read(ATTR.INBPS),
    outgoingBytesPerSecond: read(ATTR.OUTBPS),
  }
}
