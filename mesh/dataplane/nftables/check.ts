/** What nftables cannot balance, with who can. */

import { readSysctl } from '../../../src/kernel/sysctl.js'
import { MeshError } from '../../error.js'
import type { VirtualService } from '../../state.js'

/** There where connection tracking knows SCTP (CONFIG_NF_CT_PROTO_SCTP). */
const SCTP_SETTING = 'net.netfilter.nf_conntrack_sctp_timeout_established'

/** Throws MeshError `MESH_UNSUPPORTED`. Asks the namespace of the calling moment about SCTP. */
export function checkService(service: VirtualService): void {
  const { name, scheduler, ports, proxyProtocol } = service
  if (proxyProtocol !== undefined) {
    throw new MeshError(
      'MESH_UNSUPPORTED',
      `Cannot send the PROXY protocol for service "${name}": nftables writes nothing into connections; ` +
        "leave it out, as replicas see clients' own addresses, or use the userspace dataplane",
    )
  }
  if (scheduler === 'lc' || scheduler === 'wlc') {
    throw new MeshError(
      'MESH_UNSUPPORTED',
      `Cannot balance service "${name}" by ${scheduler}: nftables keeps no count of connections; ` +
        `use rr or wrr, or the ipvs dataplane, which has ${scheduler}`,
    )
  }
  if (!ports.some(port => port.protocol === 'sctp')) return
  if (readSysctl(SCTP_SETTING) !== undefined) return
  throw new MeshError(
    'MESH_UNSUPPORTED',
    `Cannot publish an SCTP port of service "${name}": this kernel does not track SCTP; ` +
      'use one with CONFIG_NF_CT_PROTO_SCTP, or another protocol',
  )
}
