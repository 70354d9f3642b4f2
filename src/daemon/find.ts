/** Look-ups by what a user typed, with a sentence for what is not there. */

import { findContainer, findNetwork, type Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'

/** Throws CatalogError `CATALOG_NOT_FOUND`. */
export function requireContainer(snapshot: Snapshot, nameOrId: string): Container {
  const container = findContainer(snapshot, nameOrId)
  if (container !== undefined) return container
  throw new CatalogError(
    'CATALOG_NOT_FOUND',
    `There is no container "${nameOrId}"; \`portolan ps\` lists those there are`,
  )
}

/** Throws CatalogError `CATALOG_NOT_FOUND`. */
export function requireNetwork(snapshot: Snapshot, nameOrId: string): Network {
  const network = findNetwork(snapshot, nameOrId)
  if (network !== undefined) return network
  throw new CatalogError(
    'CATALOG_NOT_FOUND',
    `There is no network "${nameOrId}"; \`portolan network ls\` lists those there are`,
  )
}
