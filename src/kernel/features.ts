/** What this kernel has of what Portolan uses, each with how to get it. */

import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { errorMessage } from '../base/error.js'
import { queryNft } from './nft.js'
import { closeNetns, createNetns, runInNetns } from './netns.js'
import { createBridge } from './rtnetlink.js'

export interface Feature {
  readonly name: string
  readonly isAvailable: boolean
  /** Its version or state, or the one sentence that says how to get it. */
  readonly detail: string
}

let probed: readonly Feature[] | undefined

/** Probed once, in a namespace of its own that is gone afterwards. */
export function probeFeatures(): readonly Feature[] {
  probed ??= [
    { name: 'kernel', isAvailable: true, detail: release() },
    probe('network namespaces', 'run as root', () => closeNetns(createNetns())),
    probe('bridge', 'load the module bridge', () => inScratch(() => createBridge('probe'))),
    probe('nftables', 'install libnftables1', () => inScratch(() => void queryNft('list tables'))),
    {
      name: 'IPv6',
      isAvailable: existsSync('/proc/sys/net/ipv6'),
      detail: existsSync('/proc/sys/net/ipv6') ? 'yes' : 'the kernel was started without it',
    },
    probeIpvs(),
  ]
  return probed
}

function probe(name: string, advice: string, body: () => void): Feature {
  try {
    body()
    return { name, isAvailable: true, detail: 'yes' }
  } catch (error) {
    return { name, isAvailable: false, detail: `${errorMessage(error)}; ${advice}` }
  }
}

function inScratch(body: () => void): void {
  const scratch = createNetns()
  try {
    runInNetns(scratch, body)
  } finally {
    closeNetns(scratch)
  }
}

/** Loaded, or in the kernel; loading it is the mesh's business. */
function probeIpvs(): Feature {
  const isLoaded = existsSync('/proc/net/ip_vs')
  const modules = `/lib/modules/${release()}/modules.dep`
  const isThere =
    isLoaded || (existsSync(modules) && readFileSync(modules, 'utf8').includes('/ip_vs.ko'))
  const detail = isThere ? 'yes' : 'this kernel was built without IPVS'
  return { name: 'IPVS', isAvailable: isThere, detail }
}
