/** Which services come before which: `depends_on`, and what links and shared stacks imply. */

import type { Dependency, NetworkMode } from '../../catalog/service.js'
import { suggestion } from './name.js'
import type { Place } from './report.js'
import type { DeclaredService } from './schema.js'

/** What other services of the project a service can name. */
export interface Neighbours {
  /** Services that are part of the project now. */
  readonly enabled: ReadonlyMap<string, DeclaredService>
  /** Services that a profile leaves out. */
  readonly disabled: ReadonlySet<string>
}

/** The dependencies of service `name`, which is declared at `place`. */
export function resolveDependencies(
  name: string,
  service: DeclaredService,
  mode: NetworkMode,
  neighbours: Neighbours,
  place: Place,
): readonly Dependency[] {
  const dependencies = new Map<string, Dependency>()
  const imply = (target: string, at: Place) => {
    if (!isPresent(target, name, true, neighbours, at) || dependencies.has(target)) return
    dependencies.set(target, { service: target, condition: 'service_started', isRequired: true })
  }
  for (const [target, declared] of Object.entries(service.depends_on ?? {})) {
    const at = place.at('depends_on', target)
    const isRequired = declared.required ?? true
    if (!isPresent(target, name, isRequired, neighbours, at)) continue
    const condition = declared.condition ?? 'service_started'
    if (condition === 'service_healthy' && !hasHealthcheck(neighbours.enabled.get(target))) {
      at.problem(`service "${target}" has no healthcheck, so it never becomes healthy`)
    }
    dependencies.set(target, { service: target, condition, isRequired })
  }
  service.links?.forEach((link, i) => {
    const [target = '', , ...rest] = link.split(':')
    if (target !== '' && rest.length === 0) imply(target, place.at('links', i))
  })
  if (mode.kind === 'service') imply(mode.service, place.at('network_mode'))
  return [...dependencies.values()]
}

function hasHealthcheck(service: DeclaredService | undefined): boolean {
  const check = service?.healthcheck
  const [kind] = typeof check?.test === 'string' ? [check.test] : (check?.test ?? [])
  return check !== undefined && check.disable !== true && kind !== 'NONE'
}

/** Whether `target` can be depended on; says why where it must be and cannot. */
function isPresent(
  target: string,
  name: string,
  isRequired: boolean,
  neighbours: Neighbours,
  at: Place,
): boolean {
  if (target === name) {
    at.problem(`service "${name}" cannot depend on itself`)
    return false
  }
  if (neighbours.enabled.has(target)) return true
  const isDisabled = neighbours.disabled.has(target)
  const hint = suggestion(target, neighbours.enabled.keys())
  const why = isDisabled
    ? `service "${target}" is left out, because none of its profiles is enabled`
    : `the file declares no service "${target}"${hint}`
  if (isRequired) at.problem(why)
  else at.warn(`${why}; "${name}" does without it`)
  return false
}

/** An order in which each comes after those it depends on, else a cycle of names. */
export type Order<T> =
  | { readonly kind: 'order'; readonly items: readonly T[] }
  | { readonly kind: 'cycle'; readonly names: readonly string[] }

/** Sorts by dependency, and otherwise leaves the order as it is. */
export function sortByDependency<T extends { name: string; dependsOn: readonly Dependency[] }>(
  services: readonly T[],
): Order<T> {
  const byName = new Map(services.map(service => [service.name, service]))
  const done = new Set<T>()
  // Depth first with a stack of our own: a chain of services may be long.
  for (const root of services) {
    const path: { service: T; next: number }[] = done.has(root) ? [] : [{ service: root, next: 0 }]
    const onPath = new Set<T>(path.map(step => step.service))
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const dependency = top.service.dependsOn[top.next++]
      if (dependency === undefined) {
        done.add(top.service)
        onPath.delete(top.service)
        path.pop()
        continue
      }
      const below = byName.get(dependency.service)
      if (below === undefined || done.has(below)) continue
      if (onPath.has(below)) {
        const names = path.map(step => step.service.name)
        return { kind: 'cycle', names: [...names.slice(names.indexOf(below.name)), below.name] }
      }
      path.push({ service: below, next: 0 })
      onPath.add(below)
    }
  }
  return { kind: 'order', items: [...done] }
}
