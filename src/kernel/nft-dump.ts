/**
 * What nftables holds, as the kernel's own bytes (nfnetlink; include/uapi/linux/netfilter/nf_tables.h).
 * Reads only. libnftables tells the same as text, 20 times slower where there are 100,000 elements.
 */
import { attribute, parseAttributes, visitAttributes } from './attribute.js'
import { KernelError } from './error.js'
import { dumpNetlink, NETLINK_NETFILTER } from './netlink.js'

const NFNL_SUBSYS_NFTABLES = 10 << 8
const NFPROTO_INET = 1
const GET = { table: 1, chain: 4, rule: 7, set: 10, element: 13 } as const
const TABLE = { NAME: 1, FLAGS: 2 } as const
const CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7, FLAGS: 10 } as const
const RULE = { TABLE: 1, CHAIN: 2, EXPRESSIONS: 4 } as const
const SET = {
  ...{ TABLE: 1, NAME: 2, FLAGS: 3, KEY_TYPE: 4, KEY_LEN: 5, DATA_TYPE: 6, DATA_LEN: 7, POLICY: 8 },
  ...{ DESC: 9, EXPR: 17, EXPRESSIONS: 18 },
} as const
const LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const
const ELEMENT = { KEY: 1, DATA: 2, FLAGS: 3, EXPR: 7, KEY_END: 10, EXPRESSIONS: 11 } as const
const DATA = { VALUE: 1, VERDICT: 2 } as const
const VERDICT_CHAIN = 2
const EXPRESSION_DATA = 2
const COUNTER_BYTES = 1
const ELEMENT_INTERVAL_END = 1
const HEADER_BYTES = 4
/** What makes chains and sets what they are; handles, numbers of users and the like are left out. */
const CHAIN_IDENTITY = [CHAIN.HOOK, CHAIN.POLICY, CHAIN.TYPE, CHAIN.FLAGS]
const SET_IDENTITY = [
  ...[SET.FLAGS, SET.KEY_TYPE, SET.KEY_LEN, SET.DATA_TYPE, SET.DATA_LEN, SET.POLICY],
  ...[SET.DESC, SET.EXPR, SET.EXPRESSIONS],
]

/** Chains with their rules and sets without their elements, each as text to compare. */
export interface TableShape {
  /** Its flags; undefined where there is no such table. */
  readonly flags: number | undefined
  readonly chains: ReadonlyMap<string, string>
  /** Maps too. */
  readonly sets: ReadonlyMap<string, string>
}

/** One element of a set or a map. */
export interface RawElement {
  readonly key: Buffer
  /** Where the element is a range of a concatenation. */
  readonly keyEnd: Buffer | undefined
  /** Of a map; undefined where it is a verdict. */
  readonly value: Buffer | undefined
  /** The chain that a verdict leads to. */
  readonly chain: string | undefined
  /** The first key after the range that began with the element before. */
  readonly isIntervalEnd: boolean
  /** Of its counter. */
  readonly bytes: bigint | undefined
}

/** The shape of an inet table in the namespace of the calling moment; empty where there is none. */
export function dumpShape(table: string): TableShape {
  const sets = new Map<string, string>()
  for (const attributes of dump(GET.set, table, SET.TABLE, 'list the sets')) {
    if (text(attributes.get(SET.TABLE)) !== table) continue
    sets.set(text(attributes.get(SET.NAME)), identity(attributes, SET_IDENTITY))
  }
  const chains = new Map<string, string>()
  for (const attributes of dump(GET.chain, table, CHAIN.TABLE, 'list the chains')) {
    if (text(attributes.get(CHAIN.TABLE)) !== table) continue
    chains.set(text(attributes.get(CHAIN.NAME)), identity(attributes, CHAIN_IDENTITY))
  }
  for (const attributes of dump(GET.rule, table, RULE.TABLE, 'list the rules')) {
    if (text(attributes.get(RULE.TABLE)) !== table) continue
    const chain = text(attributes.get(RULE.CHAIN))
    const rule = attributes.get(RULE.EXPRESSIONS)?.toString('latin1') ?? ''
    chains.set(chain, `${chains.get(chain) ?? ''}\n${rule}`)
  }
  const tables = dump(GET.table, table, TABLE.NAME, 'list the tables')
  const own = tables.find(attributes => text(attributes.get(TABLE.NAME)) === table)
  return { flags: own && (own.get(TABLE.FLAGS)?.readUInt32BE(0) ?? 0), chains, sets }
}

/** The elements of a set or map of an inet table; none where there is no such set. */
export function dumpElements(table: string, set: string): readonly RawElement[] {
  const names = Buffer.concat([attribute(LIST.TABLE, table), attribute(LIST.SET, set)])
  const elements: RawElement[] = []
  for (const attributes of dumpWith(
    GET.element,
    names,
    `list the elements of ${set} in ${table}`,
  )) {
    const list = attributes.get(LIST.ELEMENTS)
    if (list === undefined) continue
    visitAttributes(list, 0, list.length, (_, start, end) =>
      elements.push(parseElement(list.subarray(start, end))),
    )
  }
  return elements
}

function dump(
  type: number,
  table: string,
  tableAttribute: number,
  attempt: string,
): readonly ReadonlyMap<number, Buffer>[] {
  return dumpWith(type, attribute(tableAttribute, table), `${attempt} of ${table}`)
}

function dumpWith(
  type: number,
  names: Buffer,
  attempt: string,
): readonly ReadonlyMap<number, Buffer>[] {
  const payload = Buffer.concat([Buffer.from([NFPROTO_INET, 0, 0, 0]), names])
  const request = {
    protocol: NETLINK_NETFILTER,
    type: NFNL_SUBSYS_NFTABLES | type,
    payload,
    attempt,
  }
  try {
    return dumpNetlink(request).map(one => parseAttributes(one.payload.subarray(HEADER_BYTES)))
  } catch (error) {
    // The table or the set is not there.
    if (error instanceof KernelError && error.code === 'ENOENT') return []
    throw error
  }
}

function parseElement(bytes: Buffer): RawElement {
  const attributes = parseAttributes(bytes)
  const data = attributes.get(ELEMENT.DATA)
  const verdict = data && parseAttributes(data).get(DATA.VERDICT)
  const chain = verdict && parseAttributes(verdict).get(VERDICT_CHAIN)
  const flags = attributes.get(ELEMENT.FLAGS)?.readUInt32BE(0) ?? 0
  const end = attributes.get(ELEMENT.KEY_END)
  return {
    key: valueOf(attributes.get(ELEMENT.KEY)) ?? Buffer.alloc(0),
    keyEnd: valueOf(end),
    value: valueOf(data),
    chain: chain && text(chain),
    isIntervalEnd: (flags & ELEMENT_INTERVAL_END) !== 0,
    bytes: counterOf(attributes.get(ELEMENT.EXPR) ?? firstOf(attributes.get(ELEMENT.EXPRESSIONS))),
  }
}

function valueOf(data: Buffer | undefined): Buffer | undefined {
  return data && parseAttributes(data).get(DATA.VALUE)
}

function counterOf(expression: Buffer | undefined): bigint | undefined {
  const data = expression && parseAttributes(expression).get(EXPRESSION_DATA)
  const bytes = data && parseAttributes(data).get(COUNTER_BYTES)
  return bytes?.length === 8 ? bytes.readBigUInt64BE(0) : undefined
}

function firstOf(list: Buffer | undefined): Buffer | undefined {
  return list && parseAttributes(list).get(1)
}

function identity(attributes: ReadonlyMap<number, Buffer>, wanted: readonly number[]): string {
  return wanted.map(type => attributes.get(type)?.toString('hex') ?? '-').join(' ')
}

function text(bytes: Buffer | undefined): string {
  return bytes?.toString('utf8').replace(/\0.*$/s, '') ?? ''
}
