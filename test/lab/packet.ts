/** Exact bytes of the wire vectors: Q of the specification and what is made of it. Pure. */

/** Id 03e8, RD, one question: c2 A IN. */
export const Q = Buffer.from('03e8010000010000000000000263320000010001', 'hex')

/** `Q` with header fields set: offset to 16-bit value. Returns a copy. */
export function withHeader(fields: Readonly<Record<number, number>>, packet: Buffer = Q): Buffer {
  const copy = Buffer.from(packet)
  for (const [offset, value] of Object.entries(fields)) copy.writeUInt16BE(value, Number(offset))
  return copy
}

/** A header with `counts` (questions, answers, authorities, additionals) and what follows. */
export function headed(counts: readonly number[], ...rest: readonly (string | Buffer)[]): Buffer {
  const header = Buffer.from('03e801000000000000000000', 'hex')
  counts.forEach((count, i) => header.writeUInt16BE(count, 4 + 2 * i))
  const parts = rest.map(part => (typeof part === 'string' ? Buffer.from(part, 'hex') : part))
  return Buffer.concat([header, ...parts])
}

/** `A IN` for a name given as its wire bytes. */
export function questionFor(wireName: Buffer): Buffer {
  return headed([1, 0, 0, 0], wireName, '00010001')
}

export interface OptFields {
  readonly size?: number
  readonly version?: number
  readonly isDo?: boolean
  readonly options?: Buffer
  /** Wire bytes; default the root. */
  readonly owner?: Buffer
}

/** An OPT record (RFC 6891 §6.1.2). */
export function opt(fields: OptFields = {}): Buffer {
  const { size = 1232, version = 0, isDo = false, options = Buffer.alloc(0) } = fields
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(41, 0)
  fixed.writeUInt16BE(size, 2)
  fixed[5] = version
  fixed[6] = isDo ? 0x80 : 0
  fixed.writeUInt16BE(options.length, 8)
  return Buffer.concat([fields.owner ?? Buffer.from([0]), fixed, options])
}

/** One EDNS option. `claimedLength` is its length field where that lies. */
export function option(code: number, data: Buffer, claimedLength = data.length): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt16BE(code, 0)
  head.writeUInt16BE(claimedLength, 2)
  return Buffer.concat([head, data])
}

/** `packet` with additional records behind it. */
export function withAdditional(packet: Buffer, ...records: readonly Buffer[]): Buffer {
  return Buffer.concat([withHeader({ 10: records.length }, packet), ...records])
}

/** A name of exactly `octets` on the wire, all labels of `x`. */
export function nameOfLength(octets: number): Buffer {
  const parts: Buffer[] = []
  for (let left = octets - 1; left > 0;) {
    // A label takes its length byte too, and one byte alone would be left over.
    const taken = left > 64 ? (left === 65 ? 63 : 64) : left
    parts.push(Buffer.concat([Buffer.from([taken - 1]), Buffer.alloc(taken - 1, 'x')]))
    left -= taken
  }
  return Buffer.concat([...parts, Buffer.from([0])])
}
