/**
 * Which replicas of a service take new connections: those that run, do not drain and are ready; while
 * none is ready, all that serve. An unhealthy one keeps its name unless it is told to go (names.ts).
 */

import { allocationKey } from '../catalog/allocation.js'
import { replicasOf, type Snapshot } from '../catalog/catalog.js'
import type { Container, ContainerStatus } from '../catalog/container.js'
import { defaultBalance, type BalanceSpec, type ServiceSpec } from '../catalog/service.js'

/**
 * Label of a service. `gate` (default): no address before the first `healthy`; `keep`: always there;
 * `drop`: as `gate`, and out of the service's set while unhealthy, but never the last one.
 */
export const dnsHealthLabel = 'dns.health'

/** The service of a project in its declaration. */
export function findService(
  snapshot: Snapshot,
  project: string,
  service: string,
): ServiceSpec | undefined {
  return snapshot.projects.get(project)?.services.find(({ name }) => name === service)
}

export function balanceOf(service: ServiceSpec | undefined): BalanceSpec {
  return service?.balance ?? defaultBalance
}

/** Why a replica takes no new connections; undefined where it takes them. */
export function whyNotServing(
  container: Container,
  status: ContainerStatus | undefined,
): string | undefined {
  if (status === undefined || status.state === 'created') return 'not started'
  if (status.state !== 'running') return status.state
  if (container.desired === 'removed') return 'being removed'
  if (container.draining !== undefined) return 'draining'
  if (isGated(container, status)) return 'not healthy yet'
  return undefined
}

/** Why a replica that serves is not ready; undefined where it is. */
export function whyNotReady(status: ContainerStatus | undefined): string | undefined {
  if (status?.readiness?.isReady === false) return status.readiness.reason
  return status?.health === 'unhealthy' ? 'its healthcheck fails' : undefined
}

/** A replica that never was healthy has a name and no address: nothing connects to it too early. */
export function isGated(container: Container, status: ContainerStatus): boolean {
  if (container.spec.healthcheck === undefined || status.hasBeenHealthy) return false
  return container.spec.labels[dnsHealthLabel] !== 'keep'
}

/** The replicas that new connections go to, by number. */
export function destinationsOf(
  snapshot: Snapshot,
  project: string,
  service: string,
): readonly Container[] {
  const serving = replicasOf(snapshot, project, service).filter(
    one => whyNotServing(one, snapshot.statuses.get(one.id)) === undefined,
  )
  const ready = serving.filter(({ id }) => whyNotReady(snapshot.statuses.get(id)) === undefined)
  const isPanicking = balanceOf(findService(snapshot, project, service)).isPanicking
  return ready.length > 0 || !isPanicking ? ready : serving
}

/** The key of the service that a container is a replica of. */
export function serviceKeyOf({ project, service }: Container): string | undefined {
  if (project === undefined || service === undefined) return undefined
  return allocationKey(project, service)
}
