/**
 * A machine beside a host of the lab: a namespace of its own, joined to the host's by a veth pair with
 * documentation addresses. What it sends reaches the host from outside.
 */

import type { Test } from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import {
  addAddress,
  addDefaultRoute,
  createVeth,
  getLink,
  removeLink,
  updateLink,
} from '../../src/kernel/rtnetlink.js'
import { outsideLink } from '../fixtures/addresses.js'
import type { Host } from './host.js'

const hostEnd = 'lan0'
const clientEnd = 'out0'

export interface OutsideClient {
  readonly netns: Netns
}

/** Joins a client to `host` for the length of `t`. */
export function joinOutside(t: Test, host: Host): OutsideClient {
  const netns = createNetns()
  const index = runInNetns(host.netns, () => {
    createVeth({ name: hostEnd }, { name: clientEnd }, netns)
    const index = indexOf(hostEnd)
    for (const cidr of outsideLink.host) addAddress(index, cidr)
    updateLink(index, { isUp: true })
    return index
  })
  runInNetns(netns, () => {
    const own = indexOf(clientEnd)
    for (const cidr of outsideLink.client) addAddress(own, cidr)
    updateLink(own, { isUp: true })
    addDefaultRoute(hostAddress.v4, own)
    addDefaultRoute(hostAddress.v6, own)
  })
  t.teardown(() => {
    runInNetns(host.netns, () => removeLink(index))
    closeNetns(netns)
  })
  return { netns }
}

/** Addresses of the host as the client knows them. */
export const hostAddress = { v4: bare(outsideLink.host[0]), v6: bare(outsideLink.host[2]) } as const
/** The host's second address. */
export const otherHostAddress = bare(outsideLink.host[1])
/** Addresses of the client: connections come from the first of a family unless told. */
export const clientAddress = {
  v4: bare(outsideLink.client[0]),
  v6: bare(outsideLink.client.find(cidr => cidr.includes(':')) ?? ''),
} as const
export const clientAddresses: readonly string[] = outsideLink.client
  .filter(cidr => !cidr.includes(':'))
  .map(bare)

function indexOf(name: string): number {
  const link = getLink(name)
  if (link === undefined) throw new Error(`The link ${name} is gone`)
  return link.index
}

function bare(cidr: string): string {
  return cidr.split('/')[0] ?? cidr
}
