/** Keeps a zone's tables in step with the claims that come and go. Costs the claims, not the zone. */

import { type ServiceSource, isWildcard, serviceSource } from './claims.js'
import { type NameKey, parentStart } from './name.js'
import type { Owner } from './owner.js'
import type { Table } from './table.js'

interface Keyed {
  readonly key: NameKey
  readonly source: string
}

/**
 * `table` with the claims `before` replaced by `after`, each touched key compiled once. A value
 * without claims is removed.
 */
export function recompile<C extends Keyed, V extends { readonly claims: readonly C[] }>(
  table: Table<V>,
  before: readonly C[],
  after: readonly C[],
  compile: (claims: readonly C[]) => V | undefined,
): Table<V> {
  const gone = new Map<NameKey, Set<string>>()
  for (const { key, source } of before) {
    const sources = gone.get(key)
    if (sources === undefined) gone.set(key, new Set([source]))
    else sources.add(source)
  }
  const claims = new Map<NameKey, C[]>()
  const listAt = (key: NameKey): C[] => {
    const sources = gone.get(key)
    const kept = (table.get(key)?.claims ?? []).filter(claim => !sources?.has(claim.source))
    claims.set(key, kept)
    return kept
  }
  for (const key of gone.keys()) listAt(key)
  for (const claim of after) (claims.get(claim.key) ?? listAt(claim.key)).push(claim)
  const changes = new Map<NameKey, V | undefined>()
  for (const [key, list] of claims) changes.set(key, compile(list))
  return table.with(changes)
}

/** Endpoint id to services, after the services `before` became `after`. */
export function indexTasks(
  table: Table<readonly string[]>,
  before: readonly ServiceSource[],
  after: readonly ServiceSource[],
): Table<readonly string[]> {
  const changes = new Map<string, readonly string[]>()
  const listAt = (id: string): readonly string[] => changes.get(id) ?? table.get(id) ?? []
  for (const { names } of before) {
    const own = serviceSource(names)
    for (const { endpointId: id } of names.tasks) {
      changes.set(
        id,
        listAt(id).filter(source => source !== own),
      )
    }
  }
  for (const { names } of after) {
    const own = serviceSource(names)
    for (const { endpointId: id } of names.tasks) {
      if (!listAt(id).includes(own)) changes.set(id, [...listAt(id), own])
    }
  }
  return table.with(
    new Map([...changes].map(([id, sources]) => [id, sources.length > 0 ? sources : undefined])),
  )
}

/** The counts of `zone` after its owners became `owners`; only `touched` keys may differ. */
export function countAncestors(
  zone: {
    readonly owners: Table<Owner>
    readonly nonTerminals: Table<number>
    readonly wildcards: number
  },
  owners: Table<Owner>,
  touched: readonly { readonly key: NameKey }[],
): { readonly nonTerminals: Table<number>; readonly wildcards: number } {
  const counts = new Map<NameKey, number>()
  let { wildcards } = zone
  for (const key of new Set(touched.map(claim => claim.key))) {
    const step = Number(owners.get(key) !== undefined) - Number(zone.owners.get(key) !== undefined)
    if (step === 0) continue
    if (isWildcard(key)) wildcards += step
    for (let at = parentStart(key); at < key.length; at = parentStart(key, at)) {
      const ancestor = key.slice(at)
      const count = counts.get(ancestor) ?? zone.nonTerminals.get(ancestor) ?? 0
      counts.set(ancestor, count + step)
    }
  }
  const changes = [...counts].map(([key, count]) => [key, count > 0 ? count : undefined] as const)
  return { nonTerminals: zone.nonTerminals.with(new Map(changes)), wildcards }
}
