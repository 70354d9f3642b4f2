/** Finds out what this node can balance with. */

import { readFileSync } from 'node:fs'
import { probeFeatures } from '../../src/kernel/features.js'
import type { DataplaneFacts } from './choose.js'

/** include/uapi/linux/capability.h: rules and links, namespaces. */
const CAP_NET_ADMIN = 12n
const CAP_SYS_ADMIN = 21n

/** Makes a namespace to try things in, and removes it; without rights it tries nothing. Loads no module. */
export function probeDataplanes(): DataplaneFacts {
  const isRoot = hasCapabilities(readFileSync('/proc/self/status', 'utf8'))
  if (!isRoot) return { isRoot, nftables: 'it needs root', ipvs: 'it needs root' }
  return { isRoot, nftables: stateOf('nftables'), ipvs: stateOf('IPVS') }
}

/** Not the user id: root in a container may have neither, and they can be given without root. */
function hasCapabilities(status: string): boolean {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  const needed = (1n << CAP_NET_ADMIN) | (1n << CAP_SYS_ADMIN)
  return (effective & needed) === needed
}

function stateOf(name: string): true | string {
  const feature = probeFeatures().find(candidate => candidate.name === name)
  if (feature === undefined) return `nobody knows ${name} here`
  return feature.isAvailable ? true : feature.detail
}
