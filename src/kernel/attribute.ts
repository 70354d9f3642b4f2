/** Netlink's attributes, composed and parsed (netlink(7); include/uapi/linux/netlink.h, struct nlattr). Pure. */

/** One attribute: length, type, data, padding. */
export function attribute(type: number, data: string | number | Uint8Array): Buffer {
  const bytes = attributeBytes(data)
  const buffer = Buffer.alloc((4 + bytes.length + 3) & ~3)
  buffer.writeUInt16LE(4 + bytes.length, 0)
  buffer.writeUInt16LE(type, 2)
  buffer.set(bytes, 4)
  return buffer
}

/** An attribute that holds attributes. */
export function nested(type: number, ...attributes: readonly Buffer[]): Buffer {
  return attribute(type | 0x8000, Buffer.concat(attributes))
}

/** Attributes by type; the last of a kind wins. Cut ones are left out. */
export function parseAttributes(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const attributes = new Map<number, Buffer>()
  visitAttributes(bytes, 0, bytes.length, (type, start, end) => {
    attributes.set(type, bytes.subarray(start, end))
  })
  return attributes
}

/**
 * Visits the attributes between two offsets, with where the data of each starts and ends; cut ones are
 * left out. For tables of many thousand entries, where a buffer for each attribute would be the cost.
 */
export function visitAttributes(
  bytes: Buffer,
  from: number,
  to: number,
  visit: (type: number, start: number, end: number) => void,
): void {
  let at = from
  while (at + 4 <= to) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > to) return
    visit(bytes.readUInt16LE(at + 2) & 0x3fff, at + 4, at + length)
    at += (length + 3) & ~3
  }
}

/** Text gets its NUL; numbers are 32 bits. */
function attributeBytes(data: string | number | Uint8Array): Uint8Array {
  if (typeof data === 'string') return Buffer.from(`${data}\0`)
  if (typeof data !== 'number') return data
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(data >>> 0)
  return bytes
}
