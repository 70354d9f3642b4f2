/**
 * The host's nftables rules for all bridge networks: one table of ours, composed whole. Pure.
 *
 * Forwarding: within one network free, between two of ours never, in and out of internal ones never,
 * into a masqueraded one only replies and what was translated on purpose, into the ingress only what
 * was translated and out of it only replies.
 * Leaving: the containers' addresses become the host's.
 */

export interface RuledNetwork {
  readonly bridge: string
  /** CIDR. */
  readonly subnets: readonly string[]
  readonly isInternal: boolean
  /** Its containers may talk to each other. */
  readonly isOpen: boolean
  readonly isMasqueraded: boolean
  /** Replicas with published ports meet connections from outside here. */
  readonly isIngress: boolean
  /** Of the port that IPVS balances through, on the ingress network. */
  readonly ipvsMac?: string
}

/**
 * One transaction that replaces the table, or removes it where there is nothing to rule. `inner` are links
 * of ours that lead to no world outside: what leaves by them keeps its address.
 */
export function composeHostRules(
  table: string,
  networks: readonly RuledNetwork[],
  inner: readonly string[] = [],
): string {
  const clear = `table inet ${table} { }\ndelete table inet ${table}\n`
  if (networks.length === 0) return clear
  const bridges = networks.map(({ bridge }) => quote(bridge))
  const open = networks.filter(({ isOpen }) => isOpen).map(one => quote(one.bridge))
  const internal = networks
    .filter(({ isInternal, isIngress }) => isInternal && !isIngress)
    .map(one => quote(one.bridge))
  const ingress = networks.filter(({ isIngress }) => isIngress).map(one => quote(one.bridge))
  const leaving = networks
    .filter(({ isInternal, isMasqueraded }) => !isInternal && isMasqueraded)
    .flatMap(({ subnets }) => subnets)
  // Behind the host's address, so reached from outside through published ports alone.
  const hidden = networks
    .filter(({ isInternal, isMasqueraded }) => !isInternal && isMasqueraded)
    .map(one => quote(one.bridge))
  const v4 = leaving.filter(subnet => !subnet.includes(':'))
  const v6 = leaving.filter(subnet => subnet.includes(':'))
  // With net.bridge.bridge-nf-call-iptables, as Docker sets it, frames within a bridge come by here too.
  const bridged = networks
    .flatMap(({ bridge, ipvsMac }) => {
      if (ipvsMac === undefined) return []
      const within = `iifname ${quote(bridge)} oifname ${quote(bridge)}`
      return [
        `    ${within} ct state established,related accept\n`,
        `    ${within} ether saddr ${ipvsMac} accept\n`,
        // Who has which address, which connection tracking does not follow.
        `    ${within} icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n`,
      ]
    })
    .join('')
  return `${clear}table inet ${table} {
  set bridges { type ifname; ${elements(bridges)} }
  set inner { type ifname; ${elements([...bridges, ...inner.map(quote)])} }
  set ingress { type ifname; ${elements(ingress)} }
  set internal { type ifname; ${elements(internal)} }
  set hidden { type ifname; ${elements(hidden)} }
  set same_bridge { type ifname . ifname; ${elements(open.map(name => `${name} . ${name}`))} }
  set leaving4 { type ipv4_addr; flags interval; ${elements(v4)} }
  set leaving6 { type ipv6_addr; flags interval; ${elements(v6)} }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @same_bridge accept
    iifname @internal drop
    oifname @internal drop
    oifname @ingress ct status dnat accept
${bridged}    oifname @ingress drop
    iifname @ingress ct state established,related accept
    iifname @ingress reject with icmpx admin-prohibited
    iifname @bridges oifname @bridges drop
    oifname @hidden ct state established,related accept
    oifname @hidden ct status dnat accept
    oifname @hidden drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != @inner ip saddr @leaving4 masquerade
    oifname != @inner ip6 saddr @leaving6 masquerade
  }
}
`
}

function elements(items: readonly string[]): string {
  return items.length === 0 ? '' : `elements = { ${items.join(', ')} };`
}

function quote(name: string): string {
  return `"${name}"`
}
