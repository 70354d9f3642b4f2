/** The nftables table of a sandbox for what comes through the ingress. Pure. */

import {
  bitsOf,
  formatAddress,
  lastAddress,
  parseAddress,
  parsePrefix,
  type Family,
} from '../../src/base/ip.js'
import { formatMark, POINT_BITS, POINT_MASK, pointMark } from '../marks.js'
import type { Collection, Element, TableProgram } from '../nft/program.js'
import type { Protocol } from '../state.js'
import type { IngressTarget, SandboxIngress } from './ingress.js'

export const INGRESS_TABLE = 'portolan_ingress'
const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp']

const COLLECTIONS: readonly Collection[] = [
  { name: 'points', key: ['mac'], data: 'mark' },
  { name: 'local4', key: ['ipv4'], data: 'ipv4', isInterval: true },
  { name: 'local6', key: ['ipv6'], data: 'ipv6', isInterval: true },
  ...PROTOCOLS.flatMap((protocol): Collection[] => [
    { name: `${protocol}_targets`, key: ['port'], data: 'port' },
    { name: `${protocol}_ranges`, key: ['port'], data: 'port', isInterval: true },
  ]),
]

/** The same for all sandboxes whose interface has the name. */
export function ingressProgram(interfaceName: string): TableProgram {
  return {
    name: INGRESS_TABLE,
    collections: COLLECTIONS,
    chains: composeChains(interfaceName),
    composeChain: () => undefined,
  }
}

/**
 * The input chain is empty on purpose: two connections of one client port to two published ports of one
 * target become one there, and connection tracking gives the second another port in this hook.
 */
function composeChains(interfaceName: string): string {
  const [mask, bits] = [formatMark(POINT_MASK), formatMark(POINT_BITS)]
  const translate = ([4, 6] as const).flatMap(family => {
    const ip = family === 4 ? 'ip' : 'ip6'
    const to = `dnat ${ip} to ${ip} saddr map @local${family}`
    const is = `meta nfproto ipv${family}`
    const ports = PROTOCOLS.flatMap(protocol =>
      ['targets', 'ranges'].map(
        map => `${is} meta l4proto ${protocol} ${to} : ${protocol} dport map @${protocol}_${map}`,
      ),
    )
    // A port that is published as it is.
    return [...ports, `${is} ${to}`]
  })
  return `  chain mark_prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname "${interfaceName}" ct state new ct mark 0x0 ct mark set ether saddr map @points
    ct mark and ${mask} == ${bits} meta mark set ct mark
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ct mark and ${mask} != ${bits} return
${translate.map(rule => `    ${rule}\n`).join('')}  }
  chain input {
    type nat hook input priority 100; policy accept;
  }
  chain mark_output {
    type route hook output priority mangle; policy accept;
    ct mark and ${mask} == ${bits} meta mark set ct mark
  }
`
}

/** What one sandbox puts there. */
export function composeIngressElements(wanted: SandboxIngress): readonly Element[] {
  return [
    ...wanted.points.map(({ id, mac }) => ({
      collection: 'points',
      key: mac.toLowerCase(),
      data: String(pointMark(id)),
    })),
    ...composeLocal(wanted, 4),
    ...composeLocal(wanted, 6),
    ...wanted.targets.flatMap(composeTarget),
  ]
}

function composeTarget({ protocol, first, last, target, kind }: IngressTarget): Element[] {
  if (kind === 'single') {
    const key = first === last ? String(first) : `${first}-${last}`
    return [{ collection: `${protocol}_ranges`, key, data: String(target) }]
  }
  // nftables cannot add to a port; those that stay need no entry.
  if (first === target) return []
  return Array.from({ length: last - first + 1 }, (_, i) => ({
    collection: `${protocol}_targets`,
    key: String(first + i),
    data: String(target + i),
  }))
}

interface Stretch {
  readonly first: bigint
  readonly last: bigint
  readonly address: string
}

/** For every client address the one of ours that replies would leave from. */
function composeLocal(wanted: SandboxIngress, family: Family): Element[] {
  const { ingress, ownSubnets } = wanted
  const [own, subnet, usual] =
    family === 4
      ? [ingress.ipv4, ingress.subnet4, wanted.defaultAddress4]
      : [ingress.ipv6, ingress.subnet6, wanted.defaultAddress6]
  if (own === undefined) return []
  const near = [
    ...(subnet === undefined ? [] : [{ subnet, address: own }]),
    ...ownSubnets.filter(one => parsePrefix(one.subnet).family === family),
  ].map(({ subnet, address }): Stretch => {
    const prefix = parsePrefix(subnet)
    return { first: prefix.base, last: lastAddress(prefix).value, address }
  })
  return fillGaps(near, usual ?? own, family).map(({ first, last, address }) => {
    const text = (value: bigint): string => formatAddress({ family, value })
    const key = first === last ? text(first) : `${text(first)}-${text(last)}`
    return {
      collection: `local${family}`,
      key,
      data: formatAddress(parseAddress(address)),
    }
  })
}

/** `usual` wherever `near` says nothing. Of two that overlap the first keeps what both have. */
function fillGaps(near: readonly Stretch[], usual: string, family: Family): Stretch[] {
  const end = (1n << BigInt(bitsOf(family))) - 1n
  const sorted = [...near].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
  const stretches: Stretch[] = []
  let next = 0n
  for (const { first, last, address } of sorted) {
    if (last < next) continue
    if (first > next) stretches.push({ first: next, last: first - 1n, address: usual })
    stretches.push({ first: first > next ? first : next, last, address })
    next = last + 1n
  }
  if (next <= end) stretches.push({ first: next, last: end, address: usual })
  return stretches
}
