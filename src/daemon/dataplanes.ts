/** Which dataplane this node balances with, opened where replicas are met; and what it refuses. */

import {
  chooseDataplane,
  probeDataplanes,
  UserspaceDataplane,
  type Dataplane,
  type DataplaneChoice,
  type IngressPlace,
  type WantedDataplane,
} from '../../mesh/index.js'
import { NftablesDataplane } from '../../mesh/dataplane/nftables/nftables.js'
import { checkService as checkNftables } from '../../mesh/dataplane/nftables/check.js'
import type { Logger } from '../base/log.js'
import type { ServiceSpec } from '../catalog/service.js'
import { loadIpvs } from '../kernel/module.js'
import { balanceOf } from '../plan/serving.js'
import type { Poller } from '../runtime/index.js'
import { checkProbe } from './readiness.js'

export interface DataplanesOptions {
  readonly wanted: WantedDataplane
  /** The name of our nftables table for published ports. */
  readonly table: string
  readonly runDirectory: string
  readonly poller: Poller
  readonly logger: Logger
}

export interface Dataplanes {
  readonly choice: DataplaneChoice
  open(place: IngressPlace): Promise<Dataplane>
  /** Throws MeshError `MESH_UNSUPPORTED`, with the reason. */
  check: Dataplane['check']
}

/** Throws MeshError `MESH_NO_DATAPLANE` where the wish cannot be met here. */
export function openDataplanes({ wanted, table, poller }: DataplanesOptions): Dataplanes {
  if (wanted === 'auto' || wanted === 'ipvs') loadIpvs()
  const choice = chooseDataplane(wanted, probeDataplanes())
  const open = (place: IngressPlace): Promise<Dataplane> => {
    if (choice.kind === 'userspace') return Promise.resolve(new UserspaceDataplane())
    return Promise.resolve(NftablesDataplane.open({ place, table, poller }))
  }
  return { choice, open, check: service => checkNftables(service) }
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
