/** What IPVS of this kernel cannot balance, with who can. */

import { Ipvs, IpvsError } from 'node-ipvs'
import { closeNetns, createNetns } from '../../../src/kernel/netns.js'
import { readSysctl } from '../../../src/kernel/sysctl.js'
import { MeshError } from '../../error.js'
import type { Scheduler, VirtualService } from '../../state.js'
import { kernelScheduler } from './balance.js'

/** There where connection tracking knows SCTP (CONFIG_NF_CT_PROTO_SCTP). */
const SCTP_SETTING = 'net.netfilter.nf_conntrack_sctp_timeout_established'
const PROBE_MARK = 1

const present = new Set<string>()

/**
 * Throws MeshError `MESH_UNSUPPORTED`. Asks the namespace of the calling moment about SCTP, and the
 * kernel about a scheduler once, in a namespace of its own: it may load a module for it.
 */
export function checkService(service: VirtualService): void {
  const { name, proxyProtocol, ports } = service
  if (proxyProtocol !== undefined) {
    throw new MeshError(
      'MESH_UNSUPPORTED',
      `Cannot send the PROXY protocol for service "${name}": IPVS writes nothing into connections; ` +
        "leave it out, as replicas see clients' own addresses, or use the userspace dataplane",
    )
  }
  requireScheduler(name, kernelScheduler(service))
  if (!ports.some(port => port.protocol === 'sctp')) return
  if (readSysctl(SCTP_SETTING) !== undefined) return
  throw new MeshError(
    'MESH_UNSUPPORTED',
    `Cannot publish an SCTP port of service "${name}": this kernel does not track SCTP; ` +
      'use one with CONFIG_NF_CT_PROTO_SCTP, or another protocol',
  )
}

function requireScheduler(name: string, scheduler: Scheduler): void {
  if (present.has(scheduler)) return
  const scratch = createNetns()
  try {
    const ipvs = Ipvs.open({ netns: scratch.fd })
    try {
      ipvs.createService({ kind: 'fwmark', family: 4, mark: PROBE_MARK, scheduler })
    } finally {
      ipvs.close()
    }
  } catch (cause) {
    if (!(cause instanceof IpvsError) || cause.code !== 'ENOENT') throw cause
    throw new MeshError(
      'MESH_UNSUPPORTED',
      `Cannot balance service "${name}" by ${scheduler}: this kernel lacks the module ` +
        `ip_vs_${scheduler}; use rr, or a kernel that has it`,
      { cause },
    )
  } finally {
    closeNetns(scratch)
  }
  present.add(scheduler)
}
