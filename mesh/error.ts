/** What the mesh refuses or cannot do, for callers to act on. */

import { CodedError } from '../src/base/error.js'

export class MeshError extends CodedError<
  /** A dataplane lacks a scheduler, a protocol or an option that a service asks for. */
  | 'MESH_UNSUPPORTED'
  /** A service that contradicts itself or another one. */
  | 'MESH_BAD_SERVICE'
  /** No dataplane of the kind that was asked for runs here. */
  | 'MESH_NO_DATAPLANE'
  /** The userspace proxy cannot listen: somebody has the port. */
  | 'MESH_PORT_IN_USE'
> {}
