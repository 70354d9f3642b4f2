/**
 * Walks the pages of an LMDB tree without LMDB, to see that each is where and what it should be. LMDB
 * follows what it reads as pointers into its map, whatever that leads to.
 *
 * Layout: liblmdb/mdb.c as lmdb-js 3.5 builds it, MDB_page_header, MDB_node and MDB_ovpage, little endian.
 */

import { readSync } from 'node:fs'

/** P_INVALID: the root of an empty tree. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn

const FLAGS_AT = 18
const LOWER_AT = 20
const UPPER_AT = 22
const HEADER_BYTES = 24
const NODE_HEADER_BYTES = 8
const OVERFLOW_POINTER_BYTES = 24

const BRANCH = 0x01
const LEAF = 0x02
const OVERFLOW = 0x04
const KINDS = BRANCH | LEAF | OVERFLOW

/** F_BIGDATA: the data is on pages of its own. */
const BIG_DATA = 0x01

/** A database file and the size of its pages. */
export interface PagedFile {
  readonly fd: number
  readonly pageBytes: number
}

/** What is wrong with the tree below page `root`, or undefined. */
export function describeTree(file: PagedFile, root: bigint): string | undefined {
  const waiting = root === NO_PAGE ? [] : [root]
  const seen = new Set<bigint>()
  for (let number = waiting.pop(); number !== undefined; number = waiting.pop()) {
    if (seen.has(number)) return `page ${number} is in two places`
    seen.add(number)
    const page = readPage(file, number)
    const children = page === undefined ? undefined : childrenOf(file, page)
    if (children === undefined) return `page ${number} is damaged or missing`
    waiting.push(...children)
  }
  return undefined
}

function readPage({ fd, pageBytes }: PagedFile, number: bigint): Buffer | undefined {
  const position = number * BigInt(pageBytes)
  if (position > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
  const page = Buffer.alloc(pageBytes)
  if (readSync(fd, page, 0, pageBytes, Number(position)) < pageBytes) return undefined
  return page.readBigUInt64LE(0) === number ? page : undefined
}

/** The pages that a branch leads to; of a leaf, undefined where a node of it is damaged. */
function childrenOf(file: PagedFile, page: Buffer): readonly bigint[] | undefined {
  const kind = page.readUInt16LE(FLAGS_AT) & KINDS
  // Places in a page count from the end of its header (PAGEBASE).
  const lower = HEADER_BYTES + page.readUInt16LE(LOWER_AT)
  const upper = HEADER_BYTES + page.readUInt16LE(UPPER_AT)
  const hasBounds = lower <= upper && upper <= page.length
  if ((kind !== BRANCH && kind !== LEAF) || !hasBounds) return undefined
  const children: bigint[] = []
  for (let at = HEADER_BYTES; at < lower; at += 2) {
    const node = HEADER_BYTES + page.readUInt16LE(at)
    if (node < upper || node + NODE_HEADER_BYTES > page.length) return undefined
    if (kind === BRANCH) children.push(BigInt(page.readUIntLE(node, 6)))
    else if (!isLeafNode(file, page, node)) return undefined
  }
  return children
}

function isLeafNode(file: PagedFile, page: Buffer, node: number): boolean {
  const size = page.readUInt32LE(node)
  const isBig = (page.readUInt16LE(node + 4) & BIG_DATA) !== 0
  const data = node + NODE_HEADER_BYTES + page.readUInt16LE(node + 6)
  if (data + (isBig ? OVERFLOW_POINTER_BYTES : size) > page.length) return false
  return !isBig || isOverflow(file, page.readBigUInt64LE(data), size)
}

/** The first page says what it is; the last must be there. */
function isOverflow(file: PagedFile, number: bigint, size: number): boolean {
  const page = readPage(file, number)
  if (page === undefined || (page.readUInt16LE(FLAGS_AT) & KINDS) !== OVERFLOW) return false
  const end = Number(number) * file.pageBytes + HEADER_BYTES + size
  return readSync(file.fd, Buffer.alloc(1), 0, 1, end - 1) === 1
}
