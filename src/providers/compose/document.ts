/** YAML text to trees with positions: anchors, aliases, merge keys and the two Compose tags. */

import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type Alias,
  type Document,
  type Node,
  type Pair,
  type YAMLMap,
} from 'yaml'
import { errorMessage } from '../../base/error.js'
import type { Report } from './report.js'
import {
  scalar,
  type Entry,
  type Mark,
  type Path,
  type Position,
  type Scalar,
  type Tree,
} from './tree.js'

/** One Compose file; `path` is how messages call it. */
export interface ComposeFile {
  readonly path: string
  readonly text: string
}

/** What a file may hold once its aliases are written out: stops a "billion laughs" file. */
const MAX_VALUES = 100_000

/** Deeper than any Compose file; keeps recursion off the end of the stack. */
const MAX_DEPTH = 64

/** The trees of a file, one for each YAML document in it; empty documents are left out. */
export function parseDocuments(file: ComposeFile, report: Report): readonly Tree[] {
  const lines = new LineCounter()
  const documents = parseYaml(file, lines, report)
  const trees: Tree[] = []
  for (const document of documents) {
    for (const error of document.errors) {
      const position = { file: file.path, line: lines.linePos(error.pos[0]).line }
      report.syntaxProblem(position, `not valid YAML: ${error.message.replace(/\s+/g, ' ')}`)
    }
    if (document.errors.length > 0 || document.contents === null) continue
    trees.push(new Reader(file.path, lines, document, report).read(document.contents))
  }
  return trees
}

function parseYaml(file: ComposeFile, lines: LineCounter, report: Report): readonly Document[] {
  try {
    const documents = parseAllDocuments(file.text, {
      lineCounter: lines,
      prettyErrors: false,
      // Told below, with the line of the first.
      uniqueKeys: false,
      logLevel: 'silent',
    })
    return Array.isArray(documents) ? documents : []
  } catch (error) {
    // The parser recurses: thousands of brackets in brackets end its stack.
    const why = error instanceof RangeError ? 'nested too deeply' : errorMessage(error)
    report.syntaxProblem({ file: file.path, line: 1 }, `not valid YAML: ${why}`)
    return []
  }
}

/** Which node each alias stands for: the last one before it that has the anchor. */
function aliasTargets(document: Document): ReadonlyMap<unknown, Node> {
  const anchors = new Map<string, Node>()
  const targets = new Map<unknown, Node>()
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node)) {
        const target = anchors.get(node.source)
        if (target !== undefined) targets.set(node, target)
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node)
    },
  })
  return targets
}

/** Reads the nodes of one document. */
class Reader {
  readonly #file: string
  readonly #lines: LineCounter
  readonly #targets: ReadonlyMap<unknown, Node>
  readonly #report: Report
  /** Aliases being followed, to notice one that contains itself. */
  readonly #following = new Set<unknown>()
  #values = 0

  constructor(file: string, lines: LineCounter, document: Document, report: Report) {
    this.#file = file
    this.#lines = lines
    this.#targets = aliasTargets(document)
    this.#report = report
  }

  /** `near` is the position of what has none of its own. */
  read(node: unknown, path: Path = [], near: Position = { file: this.#file, line: 1 }): Tree {
    const position = this.#positionOf(node) ?? near
    this.#values += 1
    if (this.#values > MAX_VALUES) {
      if (this.#values === MAX_VALUES + 1) {
        this.#report.problem(
          position,
          [],
          `more than ${MAX_VALUES} values once its aliases are written out`,
        )
      }
      return scalar(null, position)
    }
    if (path.length > MAX_DEPTH) {
      this.#report.problem(position, [], `nested more than ${MAX_DEPTH} levels deep`)
      return scalar(null, position)
    }
    if (isAlias(node)) return this.#followAlias(node, path, position)
    const mark = this.#markOf(node, path, position)
    const marked = mark === undefined ? {} : { mark }
    if (isMap(node)) {
      return { kind: 'map', entries: this.#entries(node, path, position), position, ...marked }
    }
    if (isSeq(node)) {
      const items = node.items.map((item, i) => this.read(item, [...path, i], position))
      return { kind: 'list', items, position, ...marked }
    }
    return { ...this.#scalar(node, path, position), ...marked }
  }

  #followAlias(alias: Alias, path: Path, position: Position): Tree {
    const target = this.#targets.get(alias)
    if (target === undefined || this.#following.has(target)) {
      const why = target === undefined ? 'stands for no anchor before it' : 'contains itself'
      this.#report.problem(position, path, `the alias "*${alias.source}" ${why}`)
      return scalar(null, position)
    }
    this.#following.add(target)
    const tree = this.read(target, path, position)
    this.#following.delete(target)
    return tree
  }

  #entries(node: YAMLMap, path: Path, position: Position): ReadonlyMap<string, Entry> {
    const own = new Map<string, Entry>()
    const merged = new Map<string, Entry>()
    // A mapping that holds an alias to itself is only found if the mapping counts as being followed.
    const isNew = !this.#following.has(node)
    this.#following.add(node)
    for (const pair of node.items) {
      const at = this.#positionOf(pair.key) ?? position
      const key = this.#key(pair, path, at)
      if (key === undefined) continue
      if (key === '<<') {
        this.#mergeInto(merged, this.read(pair.value, path, at), path, at)
        continue
      }
      const first = own.get(key)
      if (first !== undefined) {
        this.#report.problem(at, [...path, key], `is already on line ${first.position.line}`)
        continue
      }
      own.set(key, { position: at, value: this.read(pair.value, [...path, key], at) })
    }
    if (isNew) this.#following.delete(node)
    // A mapping's own keys win over those a merge key brings, wherever it stands.
    for (const [key, entry] of merged) if (!own.has(key)) own.set(key, entry)
    return own
  }

  #mergeInto(merged: Map<string, Entry>, source: Tree, path: Path, at: Position): void {
    if (source.kind === 'list') {
      for (const item of source.items) this.#mergeInto(merged, item, path, at)
    } else if (source.kind === 'map') {
      for (const [key, entry] of source.entries) if (!merged.has(key)) merged.set(key, entry)
    } else if (source.value !== null) {
      this.#report.problem(at, path, 'the merge key "<<" needs a mapping, or a list of mappings')
    }
  }

  #key(pair: Pair, path: Path, at: Position): string | undefined {
    const node = isAlias(pair.key) ? this.#targets.get(pair.key) : pair.key
    const value = isScalar(node) ? this.#scalar(node, path, at).value : undefined
    if (value === undefined || value === null || value === '__proto__') {
      this.#report.problem(at, path, 'a key must be a plain string')
      return undefined
    }
    return String(value)
  }

  #scalar(node: unknown, path: Path, position: Position): Scalar {
    const value: unknown = isScalar(node) ? node.value : null
    // "1.10" and "0123" stay what was written: most fields are text in the end.
    const source = isScalar(node) ? node.source : undefined
    if (typeof value === 'number' || typeof value === 'bigint') {
      const isExact =
        typeof value === 'number' && (source === undefined || String(value) === source)
      return scalar(isExact ? value : (source ?? String(value)), position)
    }
    if (typeof value === 'boolean' || value === null) return scalar(value, position)
    // A tag of ours makes text of what would be null without it.
    const isPlain = isScalar(node) && node.type === 'PLAIN' && node.tag?.startsWith('!') === true
    if (isPlain && /^(null|~|)$/i.test(String(value))) return scalar(null, position)
    const text = String(value)
    if (text.includes('\0')) {
      this.#report.problem(position, path, 'a value must not hold a NUL character')
    }
    return scalar(text, position)
  }

  #markOf(node: unknown, path: Path, position: Position): Mark | undefined {
    const tag = isMap(node) || isSeq(node) || isScalar(node) ? node.tag : undefined
    if (tag === undefined || tag.startsWith('tag:yaml.org,2002:')) return undefined
    if (tag === '!reset') return 'reset'
    if (tag === '!override') return 'override'
    if (tag !== '!') {
      this.#report.problem(
        position,
        path,
        `the tag "${tag}" is not known; Compose has !reset and !override`,
      )
    }
    return undefined
  }

  #positionOf(node: unknown): Position | undefined {
    const hasRange = isMap(node) || isSeq(node) || isScalar(node) || isAlias(node)
    if (!hasRange || !node.range) return undefined
    return { file: this.#file, line: this.#lines.linePos(node.range[0]).line }
  }
}
