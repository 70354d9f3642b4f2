/** The mesh as a library: `import { Mesh } from 'portolan/mesh'`. */

export { Mesh, changedKeys, stateOf } from './mesh.js'
export type { MeshOptions } from './mesh.js'
export { emptyState } from './state.js'
export type {
  Affinity,
  Destination,
  IngressPlace,
  IngressPoint,
  MeshState,
  Protocol,
  PublishedPort,
  Scheduler,
  VirtualService,
} from './state.js'
export { MeshError } from './error.js'
export { validateState } from './validate.js'
export type { Dataplane, DataplaneKind, DestinationStats, Hop } from './dataplane/dataplane.js'
export { chooseDataplane } from './dataplane/choose.js'
export type { DataplaneChoice, DataplaneFacts, WantedDataplane } from './dataplane/choose.js'
export { probeDataplanes } from './dataplane/probe.js'
export { UserspaceDataplane } from './dataplane/userspace/userspace.js'
export type { UserspaceOptions } from './dataplane/userspace/userspace.js'
export { NftablesDataplane } from './dataplane/nftables/nftables.js'
export type { NftablesOptions } from './dataplane/nftables/nftables.js'
