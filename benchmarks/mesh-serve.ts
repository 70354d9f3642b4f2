/**
 * Portolan's userspace dataplane as a process of its own, for the benchmark of the mesh.
 *
 *     node mesh-serve.js SERVICES   a JSON list of virtual services
 */

import { Mesh, type VirtualService } from '../mesh/index.js'

const services = JSON.parse(process.argv[2] ?? '[]') as VirtualService[]
await Mesh.open({ dataplane: 'userspace', services })
