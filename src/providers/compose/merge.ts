/**
 * Lays one file over another (Compose Specification, 13): mappings merge, lists are appended, single
 * values and commands are replaced, `!reset` removes and `!override` replaces.
 */

import type { Report } from './report.js'
import { child, type Entry, type List, type Mapping, type Path, type Tree } from './tree.js'

/** `base` with `over` laid on it. `path` is where both stand. */
export function mergeTrees(base: Tree, over: Tree, report: Report, path: Path = []): Tree {
  if (over.mark !== undefined) return over
  // What was removed or taken whole below is merged with no further.
  if (base.mark === 'reset') return over
  if (isCommand(path)) return over
  if (over.kind === 'scalar' && over.value === null && base.kind !== 'scalar') return base
  if (base.kind === 'map' && over.kind === 'map') return mergeMappings(base, over, report, path)
  if (base.kind === 'list' && over.kind === 'list') return mergeLists(base, over, report, path)
  if (base.kind !== 'scalar') {
    const words = { map: 'a mapping', list: 'a list', scalar: 'a single value' }
    const { file, line } = base.position
    report.problem(
      over.position,
      path,
      `${words[over.kind]} cannot be merged with the ${words[base.kind].slice(2)} at ${file}:${line}`,
    )
  }
  return over
}

/** The keys whose value is one command, not a list of things. */
function isCommand(path: Path): boolean {
  if (path[0] !== 'services') return false
  const key = path.slice(2).join('.')
  return key === 'command' || key === 'entrypoint' || key === 'healthcheck.test'
}

function mergeMappings(base: Mapping, over: Mapping, report: Report, path: Path): Tree {
  const entries = new Map<string, Entry>(base.entries)
  for (const [key, entry] of over.entries) {
    const below = entries.get(key)
    const value =
      below === undefined
        ? entry.value
        : mergeTrees(below.value, entry.value, report, [...path, key])
    // A mapping that only gains keys keeps the line on which it begins.
    const position = value.kind === 'map' && below !== undefined ? below.position : entry.position
    entries.set(key, { position, value })
  }
  return { ...base, entries }
}

function mergeLists(base: List, over: List, report: Report, path: Path): Tree {
  if (path[0] === 'networks' && path.slice(2).join('.') === 'ipam.config') {
    return mergeSubnets(base, over, report, path)
  }
  const known = new Set(base.items.map(item => (item.kind === 'scalar' ? item.value : item)))
  const added = over.items.filter(
    item => item.mark !== 'reset' && !(item.kind === 'scalar' && known.has(item.value)),
  )
  return { ...base, items: [...base.items, ...added] }
}

/** Blocks of the same subnet merge, others are appended. */
function mergeSubnets(base: List, over: List, report: Report, path: Path): Tree {
  const items = [...base.items]
  for (const item of over.items) {
    const subnet = subnetOf(item)
    const i = items.findIndex(known => subnet !== undefined && subnetOf(known) === subnet)
    const known = items[i]
    if (known === undefined) items.push(item)
    else items[i] = mergeTrees(known, item, report, [...path, i])
  }
  return { ...base, items }
}

function subnetOf(item: Tree): string | undefined {
  const subnet = child(item, 'subnet')
  return subnet?.kind === 'scalar' ? String(subnet.value) : undefined
}
