/** Composes queries: for tools, probes and tests. Answering never needs one. */

import { parseName } from '../name.js'
import { write16 } from '../compose.js'
import { CLASS, TYPE } from '../rr.js'

/** One query. Only the name and the type are needed. */
export interface QueryFields {
  /** Text, in any case; `.` is the root. */
  readonly name: string
  readonly type: number
  readonly class?: number
  /** Default 0. */
  readonly id?: number
  /** Header bits 16-31; default RD alone. */
  readonly flags?: number
  /** Adds an OPT record. Options are raw: code, length, data. */
  readonly edns?: {
    readonly udpSize?: number
    readonly version?: number
    readonly do?: boolean
    readonly options?: Uint8Array
  }
}

/** The bytes of a query. Throws ResolverError `NAME_INVALID`. */
export function composeQuery(fields: QueryFields): Buffer {
  const wire = fields.name === '.' ? '' : parseName(fields.name)
  const options = fields.edns?.options ?? new Uint8Array()
  const optBytes = fields.edns === undefined ? 0 : 11 + options.length
  const out = Buffer.alloc(12 + wire.length + 5 + optBytes)
  write16(out, 0, fields.id ?? 0)
  write16(out, 2, fields.flags ?? 0x0100)
  write16(out, 4, 1)
  let pos = 12 + out.write(wire, 12, 'latin1') + 1
  pos = write16(out, pos, fields.type)
  pos = write16(out, pos, fields.class ?? CLASS.IN)
  if (fields.edns === undefined) return out
  write16(out, 10, 1)
  pos = write16(out, pos + 1, TYPE.OPT)
  pos = write16(out, pos, fields.edns.udpSize ?? 1232)
  out[pos + 1] = fields.edns.version ?? 0
  write16(out, pos + 2, fields.edns.do === true ? 0x8000 : 0)
  write16(out, pos + 4, options.length)
  out.set(options, pos + 6)
  return out
}
