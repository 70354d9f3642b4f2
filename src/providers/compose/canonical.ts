/**
 * Writes out the short forms of one file, so that files merge alike whichever form each of them uses:
 * lists of `KEY=VALUE` become mappings, lists of names mappings of nothing, single values lists.
 * A value of a shape that fits no form passes through, for the schema to refuse.
 */

import { shorten } from './name.js'
import type { Report } from './report.js'
import { mapEntries, mapping, scalar, type Entry, type List, type Path, type Tree } from './tree.js'

/** Lists in which the same thing twice is a mistake (`uniqueItems` of the specification's schema). */
const UNIQUE = ['dns_opt', 'external_links', 'links', 'profiles']

/** The tree of one file with its short forms written out. Reports what a list names twice. */
export function canonicalProject(tree: Tree, report: Report): Tree {
  return mapEntries(tree, (section, key) => {
    if (key === 'services') {
      return mapEntries(section, (service, name) =>
        canonicalService(emptyAsMapping(service), [key, name], report),
      )
    }
    if (key === 'networks') {
      return mapEntries(section, network => canonicalNetwork(emptyAsMapping(network)))
    }
    return section
  })
}

function canonicalService(service: Tree, path: Path, report: Report): Tree {
  return mapEntries(service, (value, key) => {
    const at = [...path, key]
    if (UNIQUE.includes(key)) reportRepeated(value, at, report)
    switch (key) {
      case 'environment':
        return variables(value, null)
      case 'labels':
        return variables(value, '')
      case 'depends_on':
        reportRepeated(value, at, report)
        return named(value)
      case 'networks':
        reportRepeated(value, at, report)
        return mapEntries(named(value), (attachment, network) => {
          const whole = emptyAsMapping(attachment)
          return mapEntries(whole, (list, field) => {
            if (field === 'aliases') reportRepeated(list, [...at, network, field], report)
            return list
          })
        })
      case 'dns':
      case 'dns_search':
        return asList(value)
      case 'env_file':
        return mapItems(asList(value), item => wrap(item, 'path'))
      case 'extends':
        return wrap(value, 'service')
      case 'extra_hosts':
        return hostList(value)
      default:
        return value
    }
  })
}

function canonicalNetwork(network: Tree): Tree {
  const external = network.kind === 'map' ? network.entries.get('external') : undefined
  // The old form, `external: { name: … }`.
  const name = external?.value.kind === 'map' ? external.value.entries.get('name') : undefined
  const labelled = mapEntries(network, (value, key) => {
    if (key === 'labels') return variables(value, '')
    if (key === 'external' && value.kind === 'map' && value.mark === undefined) {
      return scalar(true, value.position)
    }
    return value
  })
  if (name === undefined || labelled.kind !== 'map') return labelled
  return { ...labelled, entries: new Map([...labelled.entries, ['name', name]]) }
}

/** `KEY=VALUE` items as a mapping; a bare `KEY` gets `bare`. */
function variables(tree: Tree, bare: null | ''): Tree {
  if (tree.kind === 'map') {
    return mapEntries(tree, value =>
      bare === '' && value.kind === 'scalar' && value.value === null
        ? { ...value, value: bare }
        : value,
    )
  }
  if (tree.kind !== 'list' || !tree.items.every(isScalar)) return tree
  return keyed(tree, item => {
    const text = String(item.kind === 'scalar' ? item.value : '')
    const equals = text.indexOf('=')
    return equals < 0
      ? [text, scalar(bare, item.position)]
      : [text.slice(0, equals), scalar(text.slice(equals + 1), item.position)]
  })
}

/** A list of names as a mapping of empty mappings. */
function named(tree: Tree): Tree {
  if (tree.kind !== 'list' || !tree.items.every(isScalar)) return tree
  return keyed(tree, item => [
    String(item.kind === 'scalar' ? item.value : ''),
    mapping([], item.position),
  ])
}

function keyed(list: List, pair: (item: Tree) => readonly [string, Tree]): Tree {
  const entries = list.items.map((item): [string, Entry] => {
    const [key, value] = pair(item)
    const marked = item.mark === undefined ? value : { ...value, mark: item.mark }
    return [key, { position: item.position, value: marked }]
  })
  return withMark(mapping(entries, list.position), list)
}

/** `HOST: address` (or a list of them) as a list of `HOST=address`. */
function hostList(tree: Tree): Tree {
  if (tree.kind !== 'map') return tree
  const items: Tree[] = []
  for (const [host, { position, value }] of tree.entries) {
    const addresses = value.kind === 'list' ? value.items : [value]
    for (const address of addresses) {
      if (!isScalar(address)) return tree
      const text = address.kind === 'scalar' ? (address.value ?? '') : ''
      items.push(withMark(scalar(`${host}=${text}`, position), address))
    }
  }
  return withMark({ kind: 'list', items, position: tree.position }, tree)
}

function asList(tree: Tree): Tree {
  if (tree.kind !== 'scalar' || tree.mark === 'reset') return tree
  const { mark: _mark, ...item } = tree
  return withMark({ kind: 'list', items: [item], position: tree.position }, tree)
}

function mapItems(tree: Tree, change: (item: Tree) => Tree): Tree {
  return tree.kind === 'list' ? { ...tree, items: tree.items.map(change) } : tree
}

/** A single value as the mapping that it is short for. */
function wrap(tree: Tree, key: string): Tree {
  if (tree.kind !== 'scalar' || tree.value === null || tree.mark === 'reset') return tree
  const { mark: _mark, ...value } = tree
  return withMark(mapping([[key, { position: tree.position, value }]], tree.position), tree)
}

function emptyAsMapping(tree: Tree): Tree {
  if (tree.kind !== 'scalar' || tree.value !== null) return tree
  return withMark(mapping([], tree.position), tree)
}

function withMark(tree: Tree, from: Tree): Tree {
  return from.mark === undefined ? tree : { ...tree, mark: from.mark }
}

function isScalar(tree: Tree): boolean {
  return tree.kind === 'scalar' && tree.value !== null
}

function reportRepeated(tree: Tree, path: Path, report: Report): void {
  if (tree.kind !== 'list') return
  const seen = new Set<string>()
  tree.items.forEach((item, i) => {
    if (item.kind !== 'scalar') return
    const text = String(item.value)
    if (seen.has(text)) {
      report.problem(item.position, [...path, i], `"${shorten(text)}" is listed twice`)
    }
    seen.add(text)
  })
}
