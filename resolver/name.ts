/**
 * Domain names as zone keys: the name's wire form (RFC 1035 §3.1) without the root byte, ASCII
 * letters folded, one character a byte (latin1). A label holding a dot stays one label, and a
 * name qualified by a network is plain concatenation. Decides nothing about who owns a name.
 */

import { ResolverError } from './error.js'

/** A folded wire name without its root byte; `''` is the root. */
export type NameKey = string

/** A wire name as spelt, without its root byte: what a reply's RDATA shows. */
export type WireName = string

/** RFC 1035 §2.3.4. */
export const MAX_LABEL_BYTES = 63
/** RFC 1035 §2.3.4, the root byte and the length bytes included. */
export const MAX_NAME_BYTES = 255

/**
 * The wire form of `text` as spelt; one trailing dot is dropped, other characters stand for
 * their UTF-8 bytes. Throws ResolverError `NAME_INVALID`.
 */
export function parseName(text: string): WireName {
  const bare = text.endsWith('.') ? text.slice(0, -1) : text
  let wire = ''
  for (const label of bare.split('.')) {
    const bytes = isAscii(label) ? label : Buffer.from(label, 'utf8').toString('latin1')
    if (bytes.length === 0) throw invalid(text, 'it has an empty label', 'write at least one byte')
    if (bytes.length > MAX_LABEL_BYTES) {
      throw invalid(text, `its label "${label}" has ${bytes.length} bytes`, 'the most is 63')
    }
    wire += String.fromCharCode(bytes.length) + bytes
  }
  if (wire.length + 1 > MAX_NAME_BYTES) {
    throw invalid(text, `it takes ${wire.length + 1} bytes in a message`, 'the most is 255')
  }
  return wire
}

/** The zone key of `text`. Throws ResolverError `NAME_INVALID`. */
export function nameKey(text: string): NameKey {
  return foldName(parseName(text))
}

/** Throws ResolverError `NAME_INVALID`, naming `text`, where no DNS message can carry it. */
export function validateName(text: string): void {
  parseName(text)
}

/** `parseName`, with undefined for a name that cannot be encoded. */
export function tryParseName(text: string): WireName | undefined {
  try {
    return parseName(text)
  } catch (error) {
    if (error instanceof ResolverError) return undefined
    throw error
  }
}

/**
 * Folds ASCII letters only (RFC 4343): String.toLowerCase would also fold 0xC0-0xDE. Length
 * bytes are below 64 and so never taken for a letter.
 */
export function foldName(wire: WireName): NameKey {
  return /[A-Z]/.test(wire) ? wire.replace(/[A-Z]+/g, letters => letters.toLowerCase()) : wire
}

/** `name` below `parent`, or undefined where the result is longer than a name may be. */
export function joinNames(name: string, parent: string): string | undefined {
  return name.length + parent.length + 1 > MAX_NAME_BYTES ? undefined : name + parent
}

/** How many labels a wire name has; the root has none. */
export function countLabels(name: string): number {
  let count = 0
  for (let at = 0; at < name.length; at += name.charCodeAt(at) + 1) count++
  return count
}

/** Where the first label ends: the offset of the parent name. */
export function parentStart(name: string, at = 0): number {
  return at + name.charCodeAt(at) + 1
}

/** True where `name` is `suffix` or below it. */
export function isWithin(name: NameKey, suffix: NameKey): boolean {
  if (!name.endsWith(suffix)) return false
  const start = name.length - suffix.length
  let at = 0
  while (at < start) at = parentStart(name, at)
  return at === start
}

/** Presentation form with a final dot (RFC 1035 §5.1): `\.`, `\\` and `\DDD` where needed. */
export function formatName(name: string): string {
  if (name === '') return '.'
  let text = ''
  for (let at = 0; at < name.length;) {
    const end = parentStart(name, at)
    text += `${formatLabel(name.slice(at + 1, end))}.`
    at = end
  }
  return text
}

function formatLabel(label: string): string {
  if (/^[\w-]*$/.test(label)) return label
  let text = ''
  for (let i = 0; i < label.length; i++) text += formatByte(label.charCodeAt(i))
  return text
}

function formatByte(byte: number): string {
  const character = String.fromCharCode(byte)
  if ('.\\"();@$'.includes(character)) return `\\${character}`
  if (byte > 0x20 && byte < 0x7f) return character
  return `\\${String(byte).padStart(3, '0')}`
}

function isAscii(text: string): boolean {
  // eslint-disable-next-line no-control-regex
  return /^[\x00-\x7f]*$/.test(text)
}

function invalid(text: string, found: string, needed: string): ResolverError {
  return new ResolverError(
    'NAME_INVALID',
    `Cannot use "${text}" as a DNS name: ${found}; ${needed}`,
  )
}
