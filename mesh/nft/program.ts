/**
 * An nftables table as data: sets and maps with their elements, the chains that read them, and chains
 * that are there while an element leads to them. Composes it in nft's language. Pure.
 *
 * Everything that changes is in elements, so that a change costs the same however much there is.
 */

/** `number`: what `numgen` and `jhash` give. */
export type Field = 'ipv4' | 'ipv6' | 'mark' | 'number' | 'protocol' | 'port' | 'mac'

/** A set, or a map where it has `data`. */
export interface Collection {
  readonly name: string
  readonly key: readonly Field[]
  /** `verdict`: the element's data is the name of a chain. */
  readonly data?: Field | 'verdict'
  /** Keys may be ranges, `FIRST-LAST`. */
  readonly isInterval?: boolean
  /** Counts what its elements matched. */
  readonly hasCounters?: boolean
  /** What packets look up first: a large change of it is one transaction, after what it leads to. */
  readonly isEntry?: boolean
}

export interface TableProgram {
  readonly name: string
  readonly collections: readonly Collection[]
  /** The chains that are always there. */
  readonly chains: string
  /** The rules of a chain that elements lead to; undefined for a name that is none of those. */
  composeChain(name: string): string | undefined
}

/**
 * Numbers in decimal, addresses in canonical text, fields joined by ` . `, ranges as `FIRST-LAST`:
 * equal elements have equal text. `data` is empty in sets.
 */
export interface Element {
  readonly collection: string
  readonly key: string
  readonly data: string
}

const TYPES: Readonly<Record<Field, { readonly type: string; readonly like: string }>> = {
  ipv4: { type: 'ipv4_addr', like: 'ip daddr' },
  ipv6: { type: 'ipv6_addr', like: 'ip6 daddr' },
  mark: { type: 'mark', like: 'meta mark' },
  // No type of nft's is a plain number.
  number: { type: '', like: 'numgen inc mod 2' },
  protocol: { type: 'inet_proto', like: 'meta l4proto' },
  port: { type: 'inet_service', like: 'th dport' },
  mac: { type: 'ether_addr', like: 'ether saddr' },
}

/** The table without elements and without chains on demand. It must not exist. */
export function composeSkeleton(program: TableProgram): string {
  const collections = program.collections.map(one => `  ${composeCollection(one)}\n`).join('')
  return `table inet ${program.name} {\n${collections}${program.chains}}\n`
}

/** Makes a chain on demand. */
export function composeChainOnDemand(program: TableProgram, name: string): string {
  return `table inet ${program.name} {\n  chain ${name} {\n${program.composeChain(name) ?? ''}  }\n}\n`
}

/** Removes the table, whether it is there or not. */
export function composeRemoval(table: string): string {
  return `table inet ${table} { }\ndelete table inet ${table}\n`
}

/** One command for each set or map. */
export function composeElements(
  command: 'add' | 'delete',
  program: TableProgram,
  elements: readonly Element[],
): string {
  const texts = new Map(program.collections.map(({ name }) => [name, new Array<string>()]))
  const kinds = new Map(program.collections.map(({ name, data }) => [name, data]))
  for (const one of elements) {
    const text = command === 'add' ? composeElement(one, kinds.get(one.collection)) : one.key
    texts.get(one.collection)?.push(text)
  }
  return [...texts]
    .map(([name, of]) => {
      if (of.length === 0) return ''
      return `${command} element inet ${program.name} ${name} { ${of.join(', ')} }\n`
    })
    .join('')
}

function composeElement({ key, data }: Element, kind: Collection['data']): string {
  if (kind === undefined) return key
  return kind === 'verdict' ? `${key} : goto ${data}` : `${key} : ${data}`
}

function composeCollection(collection: Collection): string {
  const { name, key, data, isInterval, hasCounters } = collection
  const fields = data === undefined || data === 'verdict' ? key : [...key, data]
  const word = fields.includes('number') ? 'like' : 'type'
  const keyText = key.map(field => TYPES[field][word]).join(' . ')
  const dataText =
    data === undefined ? '' : data === 'verdict' ? ' : verdict' : ` : ${TYPES[data][word]}`
  return [
    `${data === undefined ? 'set' : 'map'} ${name} {`,
    `${word === 'like' ? 'typeof' : 'type'} ${keyText}${dataText};`,
    ...(isInterval === true ? ['flags interval;'] : []),
    ...(hasCounters === true ? ['counter;'] : []),
    '}',
  ].join(' ')
}
