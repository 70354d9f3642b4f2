/** RDATA as text: the presentation form of the common types, RFC 3597 `\#` for the rest. */

import { addressOfBytes, formatAddress } from '../../src/base/ip.js'
import { formatName } from '../name.js'
import { TYPE, formatType } from '../rr.js'
import type { Reader } from './reader.js'

/**
 * The text of the RDATA that `data` spans. A known type whose RDATA does not parse, or has bytes
 * left over, is shown in the unknown form. Never throws for RDATA; pointers are the reader's.
 */
export function formatRdata(type: number, data: Reader): string {
  const start = data.at
  const text = formatters.get(type)?.(data)
  if (text !== undefined && data.left === 0) return text
  const hex = data.bytes.toString('hex', start, data.end)
  return `\\# ${data.end - start}${hex === '' ? '' : ` ${hex}`}`
}

const name = (data: Reader): string => formatName(data.name())

const formatters = new Map<number, (data: Reader) => string | undefined>([
  [TYPE.A, data => (data.left === 4 ? address(data) : undefined)],
  [TYPE.AAAA, data => (data.left === 16 ? address(data) : undefined)],
  [TYPE.CNAME, name],
  [TYPE.DNAME, name],
  [TYPE.NS, name],
  [TYPE.PTR, name],
  [TYPE.MX, data => `${data.uint16()} ${name(data)}`],
  [TYPE.TXT, texts],
  [TYPE.SPF, texts],
  [TYPE.HINFO, texts],
  [TYPE.SOA, data => `${name(data)} ${name(data)} ${numbers(5, () => data.uint32())}`],
  [TYPE.SRV, data => `${numbers(3, () => data.uint16())} ${name(data)}`],
  [TYPE.CAA, data => `${data.uint8()} ${data.characters().toString('latin1')} ${rest(data)}`],
  [TYPE.URI, data => `${numbers(2, () => data.uint16())} ${rest(data)}`],
  [TYPE.NAPTR, naptr],
  [TYPE.SVCB, service],
  [TYPE.HTTPS, service],
  [TYPE.OPT, options],
  [TYPE.DS, data => `${data.uint16()} ${data.uint8()} ${data.uint8()} ${hex(data)}`],
  [TYPE.SSHFP, data => `${data.uint8()} ${data.uint8()} ${hex(data)}`],
  [TYPE.TLSA, data => `${numbers(3, () => data.uint8())} ${hex(data)}`],
  [TYPE.DNSKEY, data => `${data.uint16()} ${data.uint8()} ${data.uint8()} ${base64(data)}`],
  [TYPE.RRSIG, signature],
])

function address(data: Reader): string {
  const bytes = data.raw(data.left)
  return bytes.length === 4 ? bytes.join('.') : formatAddress(addressOfBytes(bytes))
}

function texts(data: Reader): string | undefined {
  const parts: string[] = []
  while (data.left > 0) parts.push(quote(data.characters()))
  return parts.length > 0 ? parts.join(' ') : undefined
}

function naptr(data: Reader): string {
  const order = numbers(2, () => data.uint16())
  const fields = [data.characters(), data.characters(), data.characters()].map(quote).join(' ')
  return `${order} ${fields} ${name(data)}`
}

/** Parameters in the generic form `key1="..."` (RFC 9460 §2.1), whatever their key. */
function service(data: Reader): string {
  const parts = [String(data.uint16()), name(data)]
  while (data.left > 0) parts.push(`key${data.uint16()}=${quote(data.raw(data.uint16()))}`)
  return parts.join(' ')
}

/** EDNS options; an extended error (RFC 8914) is spelt out. */
function options(data: Reader): string {
  const parts: string[] = []
  while (data.left > 0) {
    const code = data.uint16()
    const option = data.part(data.uint16())
    const isError = code === 15 && option.left >= 2
    parts.push(isError ? `EDE ${option.uint16()} ${rest(option)}` : `opt${code} ${hex(option)}`)
  }
  return parts.join('; ')
}

function signature(data: Reader): string {
  const covered = formatType(data.uint16())
  const fixed = `${data.uint8()} ${data.uint8()} ${numbers(3, () => data.uint32())} ${data.uint16()}`
  return `${covered} ${fixed} ${name(data)} ${base64(data)}`
}

function numbers(count: number, read: () => number): string {
  return Array.from({ length: count }, read).join(' ')
}

function rest(data: Reader): string {
  return quote(data.raw(data.left))
}

function hex(data: Reader): string {
  return data.raw(data.left).toString('hex')
}

function base64(data: Reader): string {
  return data.raw(data.left).toString('base64')
}

/** A quoted string (RFC 1035 §5.1). */
function quote(bytes: Buffer): string {
  let text = ''
  for (const byte of bytes) {
    if (byte < 0x20 || byte > 0x7e) text += `\\${String(byte).padStart(3, '0')}`
    else
      text +=
        byte === 0x22 || byte === 0x5c
          ? `\\${String.fromCharCode(byte)}`
          : String.fromCharCode(byte)
  }
  return `"${text}"`
}
