/**
 * Netlink attributes: composed, parsed and read (netlink(7)). Little-endian, as every processor that
 * this package runs on; numbers of the network say so in their name. Nothing of 64 bits is assumed to
 * be aligned to more than 4 bytes.
 */
import { badReply } from '../error.js'

const HEADER_BYTES = 4
/** Linux: include/uapi/linux/netlink.h. Above it are NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff
const NLA_F_NESTED = 0x8000
const LONGEST = 0xffff

/** The attributes of one nest, by type. */
export type Attributes = ReadonlyMap<number, Buffer>

/** One attribute: length, type, data, padding. */
export function attribute(type: number, data: Uint8Array): Buffer {
  const buffer = blank(type, data.length)
  buffer.set(data, HEADER_BYTES)
  return buffer
}

/** An attribute that holds attributes. */
export function nested(type: number, ...attributes: readonly Buffer[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes))
}

export function u8(type: number, value: number): Buffer {
  const buffer = blank(type, 1)
  buffer.writeUInt8(value, HEADER_BYTES)
  return buffer
}

export function u16(type: number, value: number): Buffer {
  const buffer = blank(type, 2)
  buffer.writeUInt16LE(value, HEADER_BYTES)
  return buffer
}

/** In network order, as ports are. */
export function u16Network(type: number, value: number): Buffer {
  const buffer = blank(type, 2)
  buffer.writeUInt16BE(value, HEADER_BYTES)
  return buffer
}

export function u32(type: number, value: number): Buffer {
  const buffer = blank(type, 4)
  buffer.writeUInt32LE(value, HEADER_BYTES)
  return buffer
}

/** With the NUL that the kernel's strings end in. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`))
}

/** An attribute whose data of `bytes` is still to be written; its padding is zero. */
function blank(type: number, bytes: number): Buffer {
  const length = HEADER_BYTES + bytes
  if (length > LONGEST) throw new RangeError(`an attribute of ${length} bytes is too long`)
  // Of Node's pool: a thousand operations have tens of thousands of these.
  const buffer = Buffer.allocUnsafe(align(length))
  buffer.fill(0, length)
  buffer.writeUInt16LE(length, 0)
  buffer.writeUInt16LE(type, 2)
  return buffer
}

/**
 * Attributes by type, flags masked; the last of a kind wins, as in the kernel. Throws IpvsError
 * `IPVS_BAD_REPLY` where one is cut.
 */
export function parseAttributes(bytes: Buffer): Attributes {
  const attributes = new Map<number, Buffer>()
  let at = 0
  while (at + HEADER_BYTES <= bytes.length) {
    const length = bytes.readUInt16LE(at)
    if (length < HEADER_BYTES || at + length > bytes.length) {
      throw badReply(`The reply has an attribute of ${length} bytes where ${bytes.length - at} are`)
    }
    const type = bytes.readUInt16LE(at + 2) & TYPE_MASK
    attributes.set(type, bytes.subarray(at + HEADER_BYTES, at + length))
    at += align(length)
  }
  return attributes
}

/** The data of an attribute that has to be there, of at least `bytes` bytes. */
export function readBytes(attributes: Attributes, type: number, bytes: number): Buffer {
  const data = attributes.get(type)
  if (data === undefined) throw badReply(`The reply lacks attribute ${type}`)
  if (data.length < bytes) {
    throw badReply(`The reply has ${data.length} bytes in attribute ${type} instead of ${bytes}`)
  }
  return data
}

export function readU8(attributes: Attributes, type: number): number {
  return readBytes(attributes, type, 1).readUInt8()
}

export function readU16(attributes: Attributes, type: number): number {
  return readBytes(attributes, type, 2).readUInt16LE()
}

export function readU16Network(attributes: Attributes, type: number): number {
  return readBytes(attributes, type, 2).readUInt16BE()
}

export function readU32(attributes: Attributes, type: number): number {
  return readBytes(attributes, type, 4).readUInt32LE()
}

export function readU64(attributes: Attributes, type: number): bigint {
  return readBytes(attributes, type, 8).readBigUInt64LE()
}

/** Up to the first NUL. */
export function readText(attributes: Attributes, type: number): string {
  const data = readBytes(attributes, type, 0)
  const end = data.indexOf(0)
  return data.toString('utf8', 0, end < 0 ? data.length : end)
}

export function readNest(attributes: Attributes, type: number): Attributes {
  return parseAttributes(readBytes(attributes, type, 0))
}

/** Netlink pads everything to 4 bytes. */
export function align(length: number): number {
  return (length + 3) & ~3
}
