/** placeholder */
import type { MeshLab } from './mesh-lab.js'
import type { Way } from './mesh-peers.js'
export function openSwarm(_lab: MeshLab): Promise<Way> {
  return Promise.reject(new Error('not yet'))
}
