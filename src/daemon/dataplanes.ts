/** Which dataplane this node balances with, opened where replicas are met; and what it refuses. */

import { join } from 'node:path'
import {
  chooseDataplane,
  NftablesDataplane,
  probeDataplanes,
  UserspaceDataplane,
  type Dataplane,
  type DataplaneChoice,
  type IngressPlace,
  type VirtualService,
  type WantedDataplane,
} from '../../mesh/index.js'
import { checkService as checkNftables } from '../../mesh/dataplane/nftables/check.js'
import { IngressSandbox } from '../../mesh/dataplane/ipvs/sandbox.js'
import { composeRemoval } from '../../mesh/nft/program.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { ServiceSpec } from '../catalog/service.js'
import { loadIpvs } from '../kernel/module.js'
import { closeNetns, openNetns } from '../kernel/netns.js'
import { listTables, runNft } from '../kernel/nft.js'
import { balanceOf } from '../plan/serving.js'
import type { Poller } from '../runtime/index.js'
import { checkProbe } from './readiness.js'

export interface DataplanesOptions {
  readonly wanted: WantedDataplane
  /** The name of our nftables tables for published ports. */
  readonly table: string
  /** Where the namespace that IPVS balances in is held. */
  readonly runDirectory: string
  /** The name of the host's link to that namespace. */
  readonly ipvsLink: string
  readonly poller: Poller
  readonly logger: Logger
}

export interface Dataplanes {
  readonly choice: DataplaneChoice
  open(place: IngressPlace): Dataplane
  /**
   * Takes away what an earlier daemon left: of the chosen dataplane where nothing is published any more, of
   * another one in any case, for it would still take the connections. Throws KernelError.
   */
  removeLeft(isPublishing: boolean): void
  /** Throws MeshError `MESH_UNSUPPORTED`, with the reason. */
  check(service: VirtualService): void
}

/** Throws MeshError `MESH_NO_DATAPLANE` where the wish cannot be met here. */
export async function openDataplanes(options: DataplanesOptions): Promise<Dataplanes> {
  const { wanted, table, runDirectory, poller, logger } = options
  if (wanted === 'auto' || wanted === 'ipvs') loadIpvs()
  const choice = chooseDataplane(wanted, probeDataplanes())
  const nsPath = join(runDirectory, 'ingress.netns')
  const removeLeft = (isPublishing: boolean): void => {
    const kept = isPublishing ? choice.kind : undefined
    if (kept !== 'ipvs') removeIngressSandbox(options.ipvsLink, nsPath)
    const hasTable = listTables().some(one => one.family === 'inet' && one.name === table)
    if (hasTable && kept !== 'ipvs' && kept !== 'nftables') runNft(composeRemoval(table))
  }
  switch (choice.kind) {
    case 'ipvs': {
      // Only where there is IPVS: its client would be loaded for nothing.
      const { IpvsDataplane } = await import('../../mesh/dataplane/ipvs/ipvs.js')
      const { checkService: check } = await import('../../mesh/dataplane/ipvs/check.js')
      const open = (place: IngressPlace): Dataplane =>
        IpvsDataplane.open({ place, table, nsPath, poller })
      return { choice, open, check, removeLeft }
    }
    case 'nftables':
      return {
        choice,
        open: place => NftablesDataplane.open({ place, table, poller }),
        check: checkNftables,
        removeLeft,
      }
    case 'userspace': {
      const onError = (error: unknown): void => logger.error({}, errorMessage(error))
      const probe = new UserspaceDataplane({ onError })
      return {
        choice,
        open: () => new UserspaceDataplane({ onError }),
        check: service => probe.check(service),
        removeLeft,
      }
    }
  }
}

function removeIngressSandbox(ipvsLink: string, nsPath: string): void {
  const host = openNetns('/proc/thread-self/ns/net')
  try {
    IngressSandbox.remove(host, { ipvsLink }, nsPath)
  } finally {
    closeNetns(host)
  }
}

/** Throws what cannot be done of what a service asks for, before anything is written. */
export function checkService(service: ServiceSpec, { check }: Dataplanes): void {
  const { probe, scheduler, affinity, proxyProtocol } = balanceOf(service)
  if (probe !== undefined) checkProbe(probe)
  if (!service.ports.some(({ isPublished }) => isPublished)) return
  check({
    key: service.name,
    name: service.name,
    mark: 1,
    ports: service.ports.flatMap(({ published: first = 1, isPublished, protocol, hostAddress }) =>
      isPublished
        ? [{ protocol, first, last: first, ...(hostAddress && { address: hostAddress }) }]
        : [],
    ),
    scheduler,
    affinity,
    ...(proxyProtocol && { proxyProtocol }),
    destinations: [],
  })
}
