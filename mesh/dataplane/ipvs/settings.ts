/** The kernel's settings in the namespace, and those of the host's end of the link. */

import { isLinuxAtLeast } from '../../../src/kernel/release.js'

/** In the order of writing: forwarding changes others' defaults. */
export function ingressSettings(hasIpv6: boolean): readonly [string, string][] {
  return [
    ['net.ipv4.ip_forward', '1'],
    ...(hasIpv6 ? ([['net.ipv6.conf.all.forwarding', '1']] as [string, string][]) : []),
    // Each link knows whose packets come by it: clients' from the host, replicas' from the network.
    ['net.ipv4.conf.all.rp_filter', '1'],
    ['net.ipv4.conf.all.arp_ignore', '1'],
    ['net.ipv4.conf.all.send_redirects', '0'],
    // What one side may have translated, and so the state that forwarding asks for.
    ['net.ipv4.vs.conntrack', '1'],
    // A connection to who is gone is answered with a reset, and a datagram goes to another.
    ['net.ipv4.vs.expire_nodest_conn', '1'],
    // A client that stuck to who drains is free to go to another.
    ['net.ipv4.vs.expire_quiescent_template', '1'],
    // Before Linux 5.9 a client's port that was used again waited a second.
    ['net.ipv4.vs.conn_reuse_mode', isLinuxAtLeast(5, 9) ? '1' : '0'],
    // IPVS has a state of its own; what connection tracking does not understand is still its.
    ['net.netfilter.nf_conntrack_tcp_be_liberal', '1'],
  ]
}

/** `link`: the host's end. Without it the kernel takes 127.0.0.1 for a mistake there. */
export function hostSettings(link: string): readonly [string, string][] {
  return [[`net.ipv4.conf.${link}.route_localnet`, '1']]
}
