/** What can happen to the catalog, and what a swap changed, as data. */

import type { Allocation } from './allocation.js'
import type { Container, ContainerStatus } from './container.js'
import type { Network } from './network.js'
import type { ProjectSpec } from './project.js'

export type Change =
  | { readonly op: 'put-network'; readonly network: Network }
  | { readonly op: 'remove-network'; readonly id: string }
  | { readonly op: 'put-container'; readonly container: Container }
  /** Takes the status along. */
  | { readonly op: 'remove-container'; readonly id: string }
  | { readonly op: 'put-status'; readonly status: ContainerStatus }
  | { readonly op: 'put-project'; readonly project: ProjectSpec }
  | { readonly op: 'remove-project'; readonly name: string }
  | { readonly op: 'put-allocation'; readonly allocation: Allocation }
  | { readonly op: 'remove-allocation'; readonly key: string }

/** Ids whose records differ between two snapshots. */
export interface Delta {
  readonly networks: ReadonlySet<string>
  readonly containers: ReadonlySet<string>
  readonly projects: ReadonlySet<string>
  /** Keys of allocations. */
  readonly allocations: ReadonlySet<string>
  /** Networks some member of which changed: those whose names may differ now. */
  readonly affectedNetworks: ReadonlySet<string>
}
