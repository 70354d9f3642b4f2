/** What this kernel has of what Portolan uses, each with how to get it. */

import { existsSync } from 'node:fs'
import { release } from 'node:os'
import { errorMessage } from '../base/error.js'
import { listFlows } from './conntrack.js'
import { ipvsState } from './module.js'
import { queryNft, runNft } from './nft.js'
import { closeNetns, createNetns, runInNetns } from './netns.js'
import { createBridge } from './rtnetlink.js'
import { destroyTcp } from './sock-diag.js'

export interface Feature {
  readonly name: string
  readonly isAvailable: boolean
  /** Its version or state, or the one sentence that says how to get it. */
  readonly detail: string
}

/** What tells apart the flows that several ingress nodes bring to one sandbox. */
const ZONE_RULE = `table inet probe {
  chain prerouting {
    type filter hook prerouting priority -300
    ct original zone set 1
  }
}`

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
    probe('connection tracking netlink', 'load the module nf_conntrack_netlink', () =>
      inScratch(() => void listFlows()),
    ),
    probe('connection tracking zones', 'use a kernel with CONFIG_NF_CONNTRACK_ZONES', () =>
      inScratch(() => runNft(ZONE_RULE)),
    ),
    probe('socket destroy', 'connections that outlive a drain end by themselves', () =>
      inScratch(probeDestroy),
    ),
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

/** A connection that is not there: a kernel that could end it says just that. */
function probeDestroy(): void {
  const nobody = { localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1' }
  destroyTcp({ ...nobody, remotePort: 1, cookie: 0n, linkIndex: 0 })
}

/** Loaded, or to be loaded; loading it is the mesh's business. */
function probeIpvs(): Feature {
  const state = ipvsState()
  const detail = state === 'absent' ? 'this kernel was built without IPVS' : state
  return { name: 'IPVS', isAvailable: state !== 'absent', detail }
}
