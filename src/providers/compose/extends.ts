/** `extends`: a service laid over another one of the same file. */

import { mergeTrees } from './merge.js'
import { suggestion } from './name.js'
import type { Report } from './report.js'
import { child, findPosition, mapEntries, type Mapping, type Tree } from './tree.js'

/** Far beyond any real file; keeps the recursion off the end of the stack. */
const MAX_CHAIN = 100

/** The tree of one file with every `extends` carried out and gone. Reports cycles and strangers. */
export function resolveExtends(tree: Tree, report: Report): Tree {
  const services = child(tree, 'services')
  if (services?.kind !== 'map') return tree
  const done = new Map<string, Tree>()
  const extend = (name: string, chain: readonly string[]): Tree | undefined => {
    const known = done.get(name)
    const own = services.entries.get(name)?.value
    if (known !== undefined || own?.kind !== 'map' || !own.entries.has('extends')) {
      return known ?? own
    }
    const base = baseName(own, name, services, [...chain, name], report)
    const below = base === undefined ? undefined : extend(base, [...chain, name])
    const above = mapEntries(own, (value, key) => (key === 'extends' ? undefined : value))
    const result =
      below === undefined ? above : mergeTrees(below, above, report, ['services', name])
    done.set(name, result)
    return result
  }
  return mapEntries(tree, (section, key) =>
    key === 'services' ? mapEntries(section, (_service, name) => extend(name, [])) : section,
  )
}

/** The service that `own` extends; undefined where it cannot be extended. */
function baseName(
  own: Mapping,
  name: string,
  services: Mapping,
  chain: readonly string[],
  report: Report,
): string | undefined {
  const declared = child(own, 'extends')
  const service = child(declared, 'service')
  const path = ['services', name, 'extends']
  const problem = (key: string, message: string) => {
    const at = [...path, ...(key === '' ? [] : [key])]
    report.problem(findPosition(own, at.slice(2)), at, message)
    return undefined
  }
  if (child(declared, 'file') !== undefined) {
    return problem('file', 'is not supported; a service can extend one of the same file only')
  }
  if (service?.kind !== 'scalar' || service.value === null) {
    return problem('', 'must name the service to extend')
  }
  const base = String(service.value)
  if (!services.entries.has(base)) {
    const hint = suggestion(base, services.entries.keys())
    return problem('service', `the file declares no service "${base}"${hint}`)
  }
  const from = chain.indexOf(base)
  if (from >= 0) {
    const cycle = [...chain.slice(from), base].join(' -> ')
    return problem('service', `services extend each other: ${cycle}`)
  }
  if (chain.length > MAX_CHAIN) {
    return problem('service', `more than ${MAX_CHAIN} services extend each other in a row`)
  }
  return base
}
