/** Names a catalog accepts, refused with one sentence that says why. Pure. */

import { CodedError } from '../base/error.js'

export class CatalogError extends CodedError<
  | 'CATALOG_BAD_NAME'
  | 'CATALOG_NAME_IN_USE'
  | 'CATALOG_NOT_FOUND'
  | 'CATALOG_IN_USE'
  | 'CATALOG_BUILTIN'
  | 'CATALOG_REFUSED'
> {}

/** Docker's rule for the names of containers and networks; at least two characters. */
const entityName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/
/** Compose's rule for projects: one character is enough. */
const projectName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/
const maxLabelOctets = 63 // RFC 1035 §2.3.4
const maxNameOctets = 253 // 255 on the wire, less the first length and the root

/** Throws CatalogError `CATALOG_BAD_NAME` unless `name` can name a `kind` and be asked for in DNS. */
export function checkEntityName(kind: 'container' | 'network' | 'project', name: string): void {
  const isProject = kind === 'project'
  if (!(isProject ? projectName : entityName).test(name)) {
    throw new CatalogError(
      'CATALOG_BAD_NAME',
      `"${name}" cannot name a ${kind}: use ${isProject ? '' : 'two or more of '}a-z, A-Z, 0-9, "_", "." and "-", starting with a letter or digit`,
    )
  }
  checkDnsName(`${kind} name`, name)
}

/** Throws CatalogError `CATALOG_BAD_NAME` unless `name` fits into DNS; `*.x` is a wildcard alias. */
export function checkDnsName(what: string, name: string): void {
  const bare = name.endsWith('.') ? name.slice(0, -1) : name
  const labels = bare.split('.')
  const tooLong = labels.find(label => Buffer.byteLength(label) > maxLabelOctets)
  if (bare === '' || labels.includes('')) {
    throw new CatalogError('CATALOG_BAD_NAME', `${what} "${name}" has an empty label; remove a dot`)
  }
  if (tooLong !== undefined) {
    throw new CatalogError(
      'CATALOG_BAD_NAME',
      `${what} "${name}" has a label of ${Buffer.byteLength(tooLong)} octets; DNS allows ${maxLabelOctets}`,
    )
  }
  if (Buffer.byteLength(bare) > maxNameOctets) {
    throw new CatalogError(
      'CATALOG_BAD_NAME',
      `${what} "${name}" has ${Buffer.byteLength(bare)} octets; DNS allows ${maxNameOctets}`,
    )
  }
}
