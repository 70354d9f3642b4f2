/**
 * The table of a node: published ports lead to a mark, the mark to a chain that draws a slot, the slot to
 * a destination's ingress address. The port stays. Pure.
 *
 *     prerouting, output   ports, ranges -> mark -> picks -> random4_N: dnat to slots4[mark . draw]
 *     postrouting          the source stays, but for loopback and for who talks to himself
 *     input                still marked: nobody is there, refused
 */

import type { IngressPlace } from '../../state.js'
import { formatMark, SERVICE_BITS, SERVICE_MASK } from '../../marks.js'
import { composeDrawChain } from '../../nft/draw.js'
import type { Collection, TableProgram } from '../../nft/program.js'

/** Without a size: the kernel would set aside memory for all of it, and walk through that to list. */
const COLLECTIONS: readonly Collection[] = [
  entry({ name: 'ports', key: ['protocol', 'port'], data: 'mark' }),
  entry({ name: 'ports4', key: ['ipv4', 'protocol', 'port'], data: 'mark' }),
  entry({ name: 'ports6', key: ['ipv6', 'protocol', 'port'], data: 'mark' }),
  range({ name: 'ranges', key: ['protocol', 'port'], data: 'mark' }),
  range({ name: 'ranges4', key: ['ipv4', 'protocol', 'port'], data: 'mark' }),
  range({ name: 'ranges6', key: ['ipv6', 'protocol', 'port'], data: 'mark' }),
  entry({ name: 'picks4', key: ['mark'], data: 'verdict' }),
  entry({ name: 'picks6', key: ['mark'], data: 'verdict' }),
  { name: 'slots4', key: ['mark', 'number'], data: 'ipv4' },
  { name: 'slots6', key: ['mark', 'number'], data: 'ipv6' },
  { name: 'hairpin4', key: ['ipv4', 'ipv4'] },
  { name: 'hairpin6', key: ['ipv6', 'ipv6'] },
  { name: 'in4', key: ['ipv4'], hasCounters: true },
  { name: 'in6', key: ['ipv6'], hasCounters: true },
  { name: 'out4', key: ['ipv4'], hasCounters: true },
  { name: 'out6', key: ['ipv6'], hasCounters: true },
]

/** The table `name` of the node whose mesh meets its replicas at `place`. */
export function nodeProgram(name: string, place: IngressPlace): TableProgram {
  return {
    name,
    collections: COLLECTIONS,
    chains: composeLookup() + composeHygiene() + composeReturn(place) + composeAccount(place),
    composeChain: chain => composeDrawChain(chain, () => 'meta mark'),
  }
}

/** What is looked up later overrides: a port over a range, one address over all. */
function composeLookup(): string {
  return `  chain find {
    ip6 daddr ::1 return
    meta mark set meta l4proto . th dport map @ranges
    meta mark set meta l4proto . th dport map @ports
    meta mark set ip daddr . meta l4proto . th dport map @ranges4
    meta mark set ip6 daddr . meta l4proto . th dport map @ranges6
    meta mark set ip daddr . meta l4proto . th dport map @ports4
    meta mark set ip6 daddr . meta l4proto . th dport map @ports6
    meta nfproto ipv4 meta mark vmap @picks4
    meta nfproto ipv6 meta mark vmap @picks6
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump find
  }
  chain output {
    type nat hook output priority -100; policy accept;
    fib daddr type local jump find
  }
`
}

/** A mark leads routing rules and other balancers astray, so it goes once it has served. */
function composeHygiene(): string {
  const isOurs = `meta mark and ${formatMark(SERVICE_MASK)} == ${formatMark(SERVICE_BITS)}`
  return `  chain clean_prerouting {
    type filter hook prerouting priority -99; policy accept;
    ct status dnat ${isOurs} meta mark set 0x0
  }
  chain clean_output {
    type filter hook output priority -99; policy accept;
    ct status dnat ${isOurs} meta mark set 0x0
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ${isOurs} jump refuse
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject
  }
`
}

/**
 * Replicas see the client's own address. A rule that keeps it comes before others' masquerading. Not
 * kept: 127.0.0.0/8, which means another host there, and a replica's own address, as a socket cannot
 * talk to itself across a translation.
 */
function composeReturn({ bridge, host }: IngressPlace): string {
  const to4 = host.ipv4 === undefined ? undefined : `snat ip to ${host.ipv4}`
  const to6 = host.ipv6 === undefined ? undefined : `snat ip6 to ${host.ipv6}`
  const rules = [
    `oifname != "${bridge}" return`,
    'ct status and dnat != dnat return',
    ...(to4 === undefined ? [] : [`ip saddr 127.0.0.0/8 ${to4}`]),
    ...(to4 === undefined ? [] : [`ip saddr . ip daddr @hairpin4 ${to4}`]),
    ...(to6 === undefined ? [] : [`ip6 saddr . ip6 daddr @hairpin6 ${to6}`]),
    'meta nfproto ipv4 snat ip to ip saddr',
    'meta nfproto ipv6 snat ip6 to ip6 saddr',
  ]
  return `  chain postrouting {
    type nat hook postrouting priority 99; policy accept;
${rules.map(rule => `    ${rule}\n`).join('')}  }
`
}

/**
 * Counts by destination. Lets in from the ingress network what answers and nothing else: neither to the
 * host's loopback, which the bridge may route to, nor by a way round an internal network.
 */
function composeAccount({ bridge }: IngressPlace): string {
  return `  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname != "${bridge}" return
    ip daddr 127.0.0.0/8 drop
    ip saddr @out4
    ip6 saddr @out6
  }
  chain guard {
    type filter hook prerouting priority mangle; policy accept;
    iifname "${bridge}" ct state new drop
  }
  chain account {
    type filter hook postrouting priority 300; policy accept;
    oifname != "${bridge}" return
    ip daddr @in4
    ip6 daddr @in6
  }
`
}

function entry(collection: Collection): Collection {
  return { ...collection, isEntry: true }
}

function range(collection: Collection): Collection {
  return { ...collection, isEntry: true, isInterval: true }
}
