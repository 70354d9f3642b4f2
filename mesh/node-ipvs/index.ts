/** A typed client of the Linux kernel's load balancer: `import { Ipvs } from 'node-ipvs'`. */

export { Ipvs } from './ipvs.js'
export type { OpenOptions } from './ipvs.js'
export type { Operation, OperationResult } from './operation.js'
export { describeService } from './service.js'
export type {
  AddressServiceId,
  Family,
  FwmarkServiceId,
  Persistence,
  Protocol,
  Service,
  ServiceFlag,
  ServiceId,
  ServiceSettings,
  ServiceStatus,
} from './service.js'
export { describeDestination } from './destination.js'
export type {
  Destination,
  DestinationId,
  DestinationStatus,
  Forwarding,
  TunnelFlag,
} from './destination.js'
export {
  canonicalDestination,
  canonicalDestinationId,
  canonicalService,
  canonicalServiceId,
} from './canonical.js'
export type { Stats } from './stats.js'
export type { SyncDaemon, SyncDaemonStatus, SyncState } from './daemon.js'
export type { Info, Timeouts } from './settings.js'
export { IpvsError } from './error.js'
export type { IpvsErrorCode, IpvsErrorDetails } from './error.js'
