/** Decides which dataplane a node balances with, from what its kernel and its rights allow. Pure. */

import { MeshError } from '../error.js'
import type { DataplaneKind } from './dataplane.js'

export type WantedDataplane = 'auto' | DataplaneKind

/** What was found here; a text says why not, and how to get it. */
export interface DataplaneFacts {
  /** May this process make namespaces, links and rules? */
  readonly isRoot: boolean
  readonly nftables: true | string
  readonly ipvs: true | string
}

export interface DataplaneChoice {
  readonly kind: DataplaneKind
  /** One sentence: which, and why not what would be before it. */
  readonly reason: string
}

/** Best first. IPVS keeps the fewest rules and schedules in the kernel; userspace copies every byte. */
const PREFERENCE: readonly DataplaneKind[] = ['ipvs', 'nftables', 'userspace']

/** Throws MeshError `MESH_NO_DATAPLANE` where a kind is asked for that cannot be had here. */
export function chooseDataplane(wanted: WantedDataplane, facts: DataplaneFacts): DataplaneChoice {
  if (wanted !== 'auto') {
    const obstacle = obstacleTo(wanted, facts)
    if (obstacle === undefined) return { kind: wanted, reason: `${wanted}, as asked for` }
    throw new MeshError(
      'MESH_NO_DATAPLANE',
      `Cannot balance with ${wanted}: ${obstacle}; choose "auto" to take what there is`,
    )
  }
  const passedOver: string[] = []
  for (const kind of PREFERENCE) {
    const obstacle = obstacleTo(kind, facts)
    if (obstacle !== undefined) {
      passedOver.push(`not ${kind}: ${obstacle}`)
      continue
    }
    const because = passedOver.length === 0 ? 'the kernel has all it needs' : passedOver.join('; ')
    return { kind, reason: `${kind}, ${because}` }
  }
  throw new MeshError('MESH_NO_DATAPLANE', `Cannot balance here: ${passedOver.join('; ')}`)
}

/** IPVS needs nftables too, which leads the ports of the node to it. */
function obstacleTo(kind: DataplaneKind, facts: DataplaneFacts): string | undefined {
  if (kind === 'userspace') return undefined
  if (!facts.isRoot) return 'it needs root'
  if (facts.nftables !== true) return facts.nftables
  return kind === 'ipvs' && facts.ipvs !== true ? facts.ipvs : undefined
}
