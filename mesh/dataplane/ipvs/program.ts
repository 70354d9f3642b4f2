/**
 * The two tables. The host's leads published ports to the namespace; the namespace's marks what comes
 * by the service it is for, by which IPVS takes it. Addresses of clients and ports stay. Pure.
 *
 *     host        prerouting, output   ports: dnat to the namespace, to an address of its own where the
 *                                      port is published at one address only
 *     namespace   prerouting           ports -> mark
 *                 input                nobody is there: refused. Else IPVS translates, and sends by ing0
 *                 postrouting          the source stays, but for who talks to himself
 */

import type { Family } from '../../../src/base/ip.js'
import type { Collection, TableProgram } from '../../nft/program.js'
import type { IngressPlace } from '../../state.js'
import type { Transit } from './transit.js'

/** The namespace's end of the link to the host, and its port on the ingress network. */
export const UPLINK = 'eth0'
export const DOWNLINK = 'ing0'

const FAMILIES: readonly Family[] = [4, 6]
const KEYWORD = { 4: 'ip', 6: 'ip6' } as const

/** The table `name` of the host. */
export function hostProgram(name: string, place: IngressPlace, transit: Transit): TableProgram {
  return {
    name,
    collections: [
      range({ name: 'ranges', key: ['protocol', 'port'] }),
      entry({ name: 'ports', key: ['protocol', 'port'] }),
      range({ name: 'ranges4', key: ['ipv4', 'protocol', 'port'], data: 'ipv4' }),
      range({ name: 'ranges6', key: ['ipv6', 'protocol', 'port'], data: 'ipv6' }),
      entry({ name: 'ports4', key: ['ipv4', 'protocol', 'port'], data: 'ipv4' }),
      entry({ name: 'ports6', key: ['ipv6', 'protocol', 'port'], data: 'ipv6' }),
    ],
    chains: composeWayIn(transit) + composeBorder(place, transit),
    composeChain: () => undefined,
  }
}

/** The table `name` of the namespace. */
export function ingressProgram(name: string, place: IngressPlace): TableProgram {
  return {
    name,
    collections: [
      range({ name: 'ranges', key: ['protocol', 'port'], data: 'mark' }),
      entry({ name: 'ports', key: ['protocol', 'port'], data: 'mark' }),
      range({ name: 'ranges4', key: ['ipv4', 'protocol', 'port'], data: 'mark' }),
      range({ name: 'ranges6', key: ['ipv6', 'protocol', 'port'], data: 'mark' }),
      entry({ name: 'ports4', key: ['ipv4', 'protocol', 'port'], data: 'mark' }),
      entry({ name: 'ports6', key: ['ipv6', 'protocol', 'port'], data: 'mark' }),
      { name: 'served4', key: ['mark'] },
      { name: 'served6', key: ['mark'] },
      { name: 'hairpin4', key: ['ipv4', 'ipv4'] },
      { name: 'hairpin6', key: ['ipv6', 'ipv6'] },
    ],
    chains: composeMarks() + composeRefusal() + composeReturn(place),
    composeChain: () => undefined,
  }
}

/** What is published at one address is looked up before what is at all of them, a port before a range. */
function composeWayIn(transit: Transit): string {
  const dnat = FAMILIES.flatMap(family => {
    if (transit[family] === undefined) return []
    const ip = KEYWORD[family]
    return ['ports', 'ranges'].map(
      map => `dnat ${ip} to ${ip} daddr . meta l4proto . th dport map @${map}${family}`,
    )
  })
  const everywhere = FAMILIES.flatMap(family => {
    const own = transit[family]
    if (own === undefined) return []
    return ['ports', 'ranges'].map(
      set =>
        `meta nfproto ipv${family} meta l4proto . th dport @${set} ` +
        `dnat ${KEYWORD[family]} to ${own.ingress}`,
    )
  })
  return `  chain find {
    ip6 daddr ::1 return
${lines([...dnat, ...everywhere])}  }
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

/**
 * Nothing goes over the link but what was translated, so a port of one address is not met at another by
 * who knows the namespace's addresses; nothing comes but answers; nothing meant for it goes elsewhere
 * while it is down. A rule that keeps the source comes before others' masquerading; 127.0.0.0/8 would
 * mean another host there.
 */
function composeBorder({ ipvsLink: link, bridge }: IngressPlace, transit: Transit): string {
  const guards = FAMILIES.flatMap(family => {
    const own = transit[family]
    if (own === undefined) return []
    // Replies to the host pass within the bridge, which netfilter may be told to look into.
    const ways = `{ "lo", "${link}", "${bridge}" }`
    return [`oifname != ${ways} ${KEYWORD[family]} daddr ${own.subnet} drop`]
  })
  const sources = [
    ...(transit[4] === undefined ? [] : [`ip saddr 127.0.0.0/8 snat ip to ${transit[4].host}`]),
    'meta nfproto ipv4 snat ip to ip saddr',
    'meta nfproto ipv6 snat ip6 to ip6 saddr',
  ]
  return `  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname "${link}" ip daddr 127.0.0.0/8 drop
    iifname "${link}" ip saddr 127.0.0.0/8 drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname "${link}" ct status and dnat != dnat drop
    iifname "${link}" ct state new drop
  }
  chain leaving {
    type filter hook postrouting priority 300; policy accept;
${lines(guards)}  }
  chain postrouting {
    type nat hook postrouting priority 99; policy accept;
    oifname != "${link}" return
${lines(sources)}  }
`
}

/** What is looked up later overrides: a port over a range, one address over all. */
function composeMarks(): string {
  return `  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname != "${UPLINK}" return
    meta mark set meta l4proto . th dport map @ranges
    meta mark set meta l4proto . th dport map @ports
    meta mark set ip daddr . meta l4proto . th dport map @ranges4
    meta mark set ip6 daddr . meta l4proto . th dport map @ranges6
    meta mark set ip daddr . meta l4proto . th dport map @ports4
    meta mark set ip6 daddr . meta l4proto . th dport map @ports6
  }
`
}

/**
 * IPVS itself answers with ICMP, of which the kernel sends few; so does whoever asks for a port that is
 * marked and not served. Nothing crosses the namespace but what IPVS translates: its answers alone are
 * forwarded, as it sends by itself.
 */
function composeRefusal(): string {
  return `  chain input {
    type filter hook input priority filter; policy accept;
    meta mark 0x0 return
    ct state != new return
    meta nfproto ipv4 meta mark != @served4 goto refuse
    meta nfproto ipv6 meta mark != @served6 goto refuse
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname != "${DOWNLINK}" drop
    ct state new drop
  }
`
}

/** A socket cannot talk to its own address across a translation. */
function composeReturn({ ipvs }: IngressPlace): string {
  const rules = [
    ...(ipvs.ipv4 === undefined ? [] : [`ip saddr . ip daddr @hairpin4 snat ip to ${ipvs.ipv4}`]),
    ...(ipvs.ipv6 === undefined
      ? []
      : [`ip6 saddr . ip6 daddr @hairpin6 snat ip6 to ${ipvs.ipv6}`]),
  ]
  return `  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != "${DOWNLINK}" return
${lines(rules)}  }
`
}

function lines(rules: readonly string[]): string {
  return rules.map(rule => `    ${rule}\n`).join('')
}

function entry(collection: Collection): Collection {
  return { ...collection, isEntry: true }
}

function range(collection: Collection): Collection {
  return { ...collection, isEntry: true, isInterval: true }
}
