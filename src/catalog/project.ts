/** A project: what one Compose file declares, checked and normalised. */

import type { NetworkSpec } from './network.js'
import type { ServiceSpec } from './service.js'

export interface ProjectNetwork {
  /** The key in the file. */
  readonly key: string
  readonly spec: NetworkSpec
  /** Made by somebody else: must exist, is never removed. */
  readonly isExternal: boolean
}

export interface ProjectSpec {
  readonly name: string
  /** Only those that a service uses, and `default` where a service names none. */
  readonly networks: readonly ProjectNetwork[]
  /** In an order in which every service follows those it depends on. */
  readonly services: readonly ServiceSpec[]
}
