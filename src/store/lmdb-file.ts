/**
 * Looks at a database file before LMDB maps it: LMDB trusts what it maps, and the process would die of
 * SIGSEGV or SIGBUS over a file that is not a database, was cut short or has a damaged page.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { errorCode } from '../base/error.js'
import { describeTree } from './lmdb-tree.js'

/** liblmdb/mdb.c: MDB_page header (24 bytes as lmdb-js lays it out), then MDB_meta, little endian. */
const META_OFFSET = 24
const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
const VERSION_AT = META_OFFSET + 4
const PAGE_SIZE_AT = META_OFFSET + 24
/** Two MDB_db of 48 bytes, whose last field is the root. */
const FREE_ROOT_AT = META_OFFSET + 24 + 40
const MAIN_ROOT_AT = FREE_ROOT_AT + 48
const LAST_PAGE_AT = META_OFFSET + 24 + 2 * 48
const TRANSACTION_AT = LAST_PAGE_AT + 8
const META_END = TRANSACTION_AT + 8

/** Bounds of a page: mdb.c's smallest and MAX_PAGESIZE. */
const MIN_PAGE_BYTES = 512
const MAX_PAGE_BYTES = 0x10000

/** What is wrong with the database at `path`, or undefined. No file, or an empty one, is a new one. */
export function describeDamage(path: string): string | undefined {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const { size } = fstatSync(fd)
    return size === 0 ? undefined : describePages(fd)
  } finally {
    closeSync(fd)
  }
}

/** How much of the database open as `fd` is in use, from its start; 0 for a new one. */
export function readUsedBytes(fd: number): number {
  const metas = readMetas(fd)
  return metas === undefined ? 0 : usedBytes(newerOf(...metas))
}

interface Meta {
  readonly pageBytes: number
  readonly lastPage: bigint
  readonly transaction: bigint
  /** Of the tree of free pages, and of the tree of records. */
  readonly roots: readonly bigint[]
}

/** The two meta pages, which commits write in turn. */
function readMetas(fd: number): readonly [Meta, Meta] | undefined {
  const first = readMeta(fd, 0)
  const second = first === undefined ? undefined : readMeta(fd, first.pageBytes)
  if (first === undefined || second === undefined) return undefined
  return first.pageBytes === second.pageBytes ? [first, second] : undefined
}

function newerOf(first: Meta, second: Meta): Meta {
  return first.transaction > second.transaction ? first : second
}

function usedBytes(meta: Meta): number {
  return (Number(meta.lastPage) + 1) * meta.pageBytes
}

function describePages(fd: number): string | undefined {
  const metas = readMetas(fd)
  if (metas === undefined) return 'data.mdb is not a database of this version'
  const { pageBytes, roots } = newerOf(...metas)
  for (const root of roots) {
    const damage = describeTree({ fd, pageBytes }, root)
    if (damage !== undefined) return `data.mdb is damaged: ${damage}`
  }
  return undefined
}

function readMeta(fd: number, position: number): Meta | undefined {
  const bytes = Buffer.alloc(META_END)
  if (readSync(fd, bytes, 0, META_END, position) < META_END) return undefined
  const pageBytes = bytes.readUInt32LE(PAGE_SIZE_AT)
  const isMeta =
    bytes.readUInt32LE(META_OFFSET) === MAGIC &&
    // The high half is a flag of the map's format.
    (bytes.readUInt32LE(VERSION_AT) & 0xffff) === DATA_VERSION &&
    pageBytes >= MIN_PAGE_BYTES &&
    pageBytes <= MAX_PAGE_BYTES
  if (!isMeta) return undefined
  return {
    pageBytes,
    lastPage: bytes.readBigUInt64LE(LAST_PAGE_AT),
    transaction: bytes.readBigUInt64LE(TRANSACTION_AT),
    roots: [bytes.readBigUInt64LE(FREE_ROOT_AT), bytes.readBigUInt64LE(MAIN_ROOT_AT)],
  }
}
