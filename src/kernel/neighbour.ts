/**
 * Neighbours that need no asking for: which link layer address an address of a link has, in the
 * namespace of the calling moment (rtnetlink(7), include/uapi/linux/neighbour.h).
 */
import { addressBytes, addressOfBytes, formatAddress, parseAddress } from '../base/ip.js'
import { attribute, parseAttributes } from './attribute.js'
import { ignoring } from './error.js'
import { familyNumber, familyOf } from './family.js'
import { formatMac, macBytes } from './mac.js'
import { NETLINK_ROUTE, NLM_F, readNetlink, sendNetlink } from './netlink.js'

const RTM = { NEWNEIGH: 28, DELNEIGH: 29, GETNEIGH: 30 } as const
const NDA = { DST: 1, LLADDR: 2 } as const
const NUD_PERMANENT = 0x80
/** struct ndmsg. */
const HEADER_BYTES = 12

export interface Neighbour {
  readonly address: string
  readonly mac: string
}

/** The permanent neighbours of a link, of both families. */
export function listNeighbours(index: number): readonly Neighbour[] {
  const payload = Buffer.alloc(HEADER_BYTES)
  const attempt = `list the neighbours of link ${index}`
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETNEIGH, payload, attempt }
  return readNetlink(request, message =>
    message.type === RTM.NEWNEIGH ? parseNeighbour(message.payload, index) : undefined,
  )
}

/** Puts a permanent neighbour, in place of what was known of its address. Throws KernelError. */
export function addNeighbour(index: number, { address, mac }: Neighbour): void {
  const payload = Buffer.concat([
    composeNeighbour(index, address),
    attribute(NDA.LLADDR, macBytes(mac)),
  ])
  const flags = NLM_F.CREATE | NLM_F.REPLACE
  const attempt = `add neighbour ${address} on link ${index}`
  sendNetlink({ protocol: NETLINK_ROUTE, type: RTM.NEWNEIGH, flags, payload, attempt })
}

/** Forgets an address; returns false where it was not known. Throws KernelError. */
export function removeNeighbour(index: number, address: string): boolean {
  const payload = composeNeighbour(index, address)
  const attempt = `remove neighbour ${address} of link ${index}`
  return ignoring('ENOENT', () =>
    sendNetlink({ protocol: NETLINK_ROUTE, type: RTM.DELNEIGH, flags: 0, payload, attempt }),
  )
}

/**
 * Makes `wanted` the permanent neighbours of a link. Returns how many it changed. Throws KernelError.
 */
export function reconcileNeighbours(index: number, wanted: readonly Neighbour[]): number {
  const present = new Map(listNeighbours(index).map(({ address, mac }) => [address, mac]))
  const named = wanted.map(({ address, mac }) => ({
    address: formatAddress(parseAddress(address)),
    mac: mac.toLowerCase(),
  }))
  const missing = named.filter(({ address, mac }) => present.get(address) !== mac)
  for (const neighbour of missing) addNeighbour(index, neighbour)
  for (const { address } of named) present.delete(address)
  return missing.length + [...present.keys()].filter(one => removeNeighbour(index, one)).length
}

/** The neighbour of one message, where it is a permanent one of link `index`. */
export function parseNeighbour(payload: Buffer, index: number): Neighbour | undefined {
  const family = familyOf(payload[0])
  if (family === undefined || payload.length < HEADER_BYTES) return undefined
  if (payload.readInt32LE(4) !== index) return undefined
  if ((payload.readUInt16LE(8) & NUD_PERMANENT) === 0) return undefined
  const attributes = parseAttributes(payload.subarray(HEADER_BYTES))
  const [address, mac] = [attributes.get(NDA.DST), attributes.get(NDA.LLADDR)]
  if (address?.length !== (family === 4 ? 4 : 16) || mac === undefined) return undefined
  return { address: formatAddress(addressOfBytes(address)), mac: formatMac(mac) }
}

function composeNeighbour(index: number, address: string): Buffer {
  const parsed = parseAddress(address)
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(familyNumber(parsed.family), 0)
  header.writeInt32LE(index, 4)
  header.writeUInt16LE(NUD_PERMANENT, 8)
  return Buffer.concat([header, attribute(NDA.DST, addressBytes(parsed))])
}
