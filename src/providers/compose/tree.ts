/** A YAML document as a tree in which every key and value knows its file and line. */

/** Where something was written. `line` counts from 1. */
export interface Position {
  readonly file: string
  readonly line: number
}

/** `!reset` removes what an earlier file says, `!override` replaces instead of merging. */
export type Mark = 'reset' | 'override'

interface Written {
  readonly position: Position
  readonly mark?: Mark
}

export interface Scalar extends Written {
  readonly kind: 'scalar'
  readonly value: string | number | boolean | null
}

export interface List extends Written {
  readonly kind: 'list'
  readonly items: readonly Tree[]
}

export interface Mapping extends Written {
  readonly kind: 'map'
  readonly entries: ReadonlyMap<string, Entry>
}

/** One pair of a mapping; `position` is the key's. */
export interface Entry {
  readonly position: Position
  readonly value: Tree
}

export type Tree = Scalar | List | Mapping

/** Keys and list indexes from the root. */
export type Path = readonly (string | number)[]

export function scalar(value: Scalar['value'], position: Position): Scalar {
  return { kind: 'scalar', value, position }
}

export function mapping(entries: Iterable<readonly [string, Entry]>, position: Position): Mapping {
  return { kind: 'map', entries: new Map(entries), position }
}

/** `services.web.ports[0]`. */
export function formatPath(path: Path): string {
  return path
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? key : `.${key}`))
    .join('')
}

/** The position of `path`, or of its nearest ancestor that was written. */
export function findPosition(root: Tree, path: Path): Position {
  let tree = root
  let position = root.position
  for (const key of path) {
    const entry = tree.kind === 'map' ? tree.entries.get(String(key)) : undefined
    const item = tree.kind === 'list' && typeof key === 'number' ? tree.items[key] : undefined
    if (entry !== undefined) {
      position = entry.position
      tree = entry.value
    } else if (item !== undefined) {
      position = item.position
      tree = item
    } else break
  }
  return position
}

/** The value under `key`, where `tree` is a mapping that has it. */
export function child(tree: Tree | undefined, key: string): Tree | undefined {
  return tree?.kind === 'map' ? tree.entries.get(key)?.value : undefined
}

/** Rebuilds a mapping with each value changed; `undefined` drops the pair. Others pass through. */
export function mapEntries(
  tree: Tree,
  change: (value: Tree, key: string, entry: Entry) => Tree | undefined,
): Tree {
  if (tree.kind !== 'map') return tree
  const entries = new Map<string, Entry>()
  for (const [key, entry] of tree.entries) {
    const value = change(entry.value, key, entry)
    if (value !== undefined) entries.set(key, { position: entry.position, value })
  }
  return { ...tree, entries }
}

/** Plain values, for a validator. What is marked `!reset` is left out. */
export function plainValue(tree: Tree): unknown {
  switch (tree.kind) {
    case 'scalar':
      return tree.value
    case 'list':
      return tree.items.filter(item => item.mark !== 'reset').map(plainValue)
    case 'map':
      return Object.fromEntries(
        [...tree.entries]
          .filter(([, entry]) => entry.value.mark !== 'reset')
          .map(([key, entry]) => [key, plainValue(entry.value)]),
      )
  }
}
