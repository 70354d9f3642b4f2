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
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { ServiceSpec } from '../catalog/service.js'
import { loadIpvs } from '../kernel/module.js'
import { balanceOf } from '../plan/serving.js'
import type { Poller } from '../runtime/index.js'
import { checkProbe } from './readiness.js'

export interface DataplanesOptions {
  readonly wanted: WantedDataplane
  /** The name of our nftables tables for published ports. */
  readonly table: string
  /** Where the namespace that IPVS balances in is held. */
  readonly runDirectory: string
  readonly poller: Poller
  readonly logger: Logger
}

export interface Dataplanes {
  readonly choice: DataplaneChoice
  open(place: IngressPlace): Dataplane
  /** Throws MeshError `MESH_UNSUPPORTED`, with the reason. */
  check(service: VirtualService): void
}

/** Throws MeshError `MESH_NO_DATAPLANE` where the wish cannot be met here. */
export async function openDataplanes(options: DataplanesOptions): Promise<Dataplanes> {
  const { wanted, table, runDirectory, poller, logger } = options
  if (wanted === 'auto' || wanted === 'ipvs') loadIpvs()
  const choice = chooseDataplane(wanted, probeDataplanes())
  switch (choice.kind) {
    case 'ipvs': {
      // Only where there is IPVS: its client would be loaded for nothing.
      const { IpvsDataplane } = await import('../../mesh/dataplane/ipvs/ipvs.js')
      const { checkService: check } = await import('../../mesh/dataplane/ipvs/check.js')
      const nsPath = join(runDirectory, 'ingress.netns')
      const open = (place: IngressPlace): Dataplane =>
        IpvsDataplane.open({ place, table, nsPath, poller })
      return { choice, open, check }
    }
    case 'nftables':
      return {
        choice,
        open: place => NftablesDataplane.open({ place, table, poller }),
        check: checkNftables,
      }
    case 'userspace': {
      const onError = (error: unknown): void => logger.error({}, errorMessage(error))
      const probe = new UserspaceDataplane({ onError })
      return {
        choice,
        open: () => new UserspaceDataplane({ onError }),
        check: service => probe.check(service),
      }
    }
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
