/** The nftables table of a sandbox for virtual addresses. Pure. */

import { formatAddress, parseAddress } from '../../src/base/ip.js'
import { drawOf, weightOf } from '../nft/scheduler.js'
import { composeDrawChain, drawChain } from '../nft/draw.js'
import type { Element, TableProgram } from '../nft/program.js'
import { assignSlots } from '../nft/slots.js'
import type { SandboxVip } from './vip.js'

export const VIP_TABLE = 'portolan_vip'

const CHAINS = `  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr vmap @vips4
    ip6 daddr vmap @vips6
  }
  chain untranslated {
    type filter hook output priority filter; policy accept;
    ip daddr @addresses4 goto refuse
    ip6 daddr @addresses6 goto refuse
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject
  }
`

/** The same for all sandboxes. */
export function vipProgram(): TableProgram {
  return {
    name: VIP_TABLE,
    collections: [
      { name: 'vips4', key: ['ipv4'], data: 'verdict', isEntry: true },
      { name: 'vips6', key: ['ipv6'], data: 'verdict', isEntry: true },
      { name: 'slots4', key: ['ipv4', 'number'], data: 'ipv4' },
      { name: 'slots6', key: ['ipv6', 'number'], data: 'ipv6' },
      { name: 'addresses4', key: ['ipv4'], isEntry: true },
      { name: 'addresses6', key: ['ipv6'], isEntry: true },
    ],
    chains: CHAINS,
    composeChain: name =>
      composeDrawChain(name, family => (family === 4 ? 'ip daddr' : 'ip6 daddr')),
  }
}

/** What one virtual service puts there. */
export function composeVipElements(vip: SandboxVip): readonly Element[] {
  return [...composeFamily(vip, 4), ...composeFamily(vip, 6)]
}

/** The virtual addresses of a service in canonical text. */
export function vipsOf({ vip4, vip6 }: SandboxVip): string[] {
  return [vip4, vip6].flatMap(address => (address === undefined ? [] : [canonical(address)]))
}

/** The addresses of a service's destinations in canonical text. */
export function addressesOf(vip: SandboxVip | undefined): string[] {
  return (vip?.destinations ?? []).flatMap(({ ipv4, ipv6 }) =>
    [ipv4, ipv6].flatMap(address => (address === undefined ? [] : [canonical(address)])),
  )
}

function composeFamily(vip: SandboxVip, family: 4 | 6): Element[] {
  const address = family === 4 ? vip.vip4 : vip.vip6
  if (address === undefined) return []
  const key = canonical(address)
  const draw = drawOf(vip.scheduler, vip.affinity)
  const candidates = vip.destinations.flatMap(one => {
    const text = family === 4 ? one.ipv4 : one.ipv6
    if (text === undefined) return []
    return [{ id: canonical(text), weight: weightOf(vip.scheduler, one.weight) }]
  })
  const slots = assignSlots(draw, candidates)
  const chain = drawChain(draw, family, slots.length)
  return [
    { collection: `addresses${family}`, key, data: '' },
    ...(slots.length === 0 ? [] : [{ collection: `vips${family}`, key, data: chain }]),
    ...slots.map((index, slot) => ({
      collection: `slots${family}`,
      key: `${key} . ${slot}`,
      data: candidates[index]?.id ?? '',
    })),
  ]
}

function canonical(address: string): string {
  return formatAddress(parseAddress(address))
}
