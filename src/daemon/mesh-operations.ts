/** What commands ask of the mesh: services, draining, where a connection goes. */

import type {
  DataplaneView,
  DrainRequest,
  MeshReply,
  Report,
  ServiceView,
  TraceReply,
  UpdateServiceRequest,
} from '../api/contract.js'
import { CatalogError } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import type { BalanceSpec, ServiceSpec } from '../catalog/service.js'
import { balanceOf, whyNotServing } from '../plan/serving.js'
import { isDrainable, type ConnectionDrainer } from './drain.js'
import type { MeshControl } from './mesh.js'
import { findPublished, viewMesh, viewServices, viewTrace } from './mesh-views.js'
import type { MeshDeclaration } from './project-declaration.js'
import type { State } from './state.js'

export interface MeshOperationsOptions {
  readonly state: State
  readonly mesh: MeshControl
  readonly drainer: ConnectionDrainer
  readonly declaration: MeshDeclaration
  readonly dataplane: () => DataplaneView
}

export class MeshOperations {
  readonly #options: MeshOperationsOptions

  constructor(options: MeshOperationsOptions) {
    this.#options = options
  }

  listServices(): readonly ServiceView[] {
    return viewServices(this.#options.state.snapshot)
  }

  async updateService(name: string, request: UpdateServiceRequest, report: Report): Promise<void> {
    const { state, declaration } = this.#options
    const changed = await state.writing.run(async () => {
      const { project, service } = this.#findService(name)
      const spec = state.snapshot.projects.get(project)
      if (spec === undefined) throw notFound(name, this.listServices())
      const next: ServiceSpec = { ...service, balance: changeBalance(balanceOf(service), request) }
      refuseUnknownReplicas(next, request)
      declaration.check(next)
      const services = spec.services.map(one => (one === service ? next : one))
      await state.declare([{ op: 'put-project', project: { ...spec, services } }])
      return `${project}/${service.name}`
    })
    await this.#commit(report)
    report({ kind: 'done', message: `Service ${changed} updated`, changed: 1 })
  }

  /** Until every connection is done or reset, or by `isUndone` back among the others. */
  async drain(container: Container, request: DrainRequest, report: Report): Promise<void> {
    if (request.isUndone) return this.#undrain(container, report)
    const { state, drainer } = this.#options
    const { name } = container
    if (!isDrainable(container)) {
      throw new CatalogError(
        'CATALOG_REFUSED',
        `Cannot drain "${name}": it has no network of its own, or is no replica of a service; \`portolan stop ${name}\` ends it`,
      )
    }
    const reason = whyNotServing(container, state.snapshot.statuses.get(container.id))
    if (reason !== undefined && reason !== 'draining' && reason !== 'not healthy yet') {
      throw new CatalogError('CATALOG_REFUSED', `Cannot drain "${name}": it is ${reason}`)
    }
    const { drainMs } = drainer.termsOf(container)
    const timeoutMs = (request.timeoutSeconds ?? drainMs / 1000) * 1000
    const draining = await state.changeContainer(container.id, one => ({
      ...one,
      draining: {
        since: new Date().toISOString(),
        deadline: new Date(Date.now() + timeoutMs).toISOString(),
      },
    }))
    if (draining === undefined) return
    await this.#commit(report)
    report({ kind: 'progress', message: `Container ${name} gets no new connections` })
    const { reset } = await this.finishDrain(draining, count => {
      const what = `${count} connection${count === 1 ? '' : 's'}`
      report({ kind: 'progress', message: `Container ${name} has ${what} left` })
    })
    const what = reset === 0 ? '' : `, ${reset} connection${reset === 1 ? '' : 's'} reset`
    report({ kind: 'done', message: `Container ${name} drained${what}`, changed: 1 })
  }

  /** Waits for what is left of a drain; a daemon that comes up goes on with it here. */
  finishDrain(
    { id }: Container,
    onCount: (connections: number) => void = () => undefined,
  ): Promise<{ readonly reset: number }> {
    const { state, drainer } = this.#options
    const current = (): Container | undefined => state.snapshot.containers.get(id)
    const container = current()
    if (container?.draining === undefined || !isDrainable(container))
      return Promise.resolve({ reset: 0 })
    const { deadline } = container.draining
    const isOver = (): boolean =>
      current()?.draining?.deadline !== deadline ||
      state.snapshot.statuses.get(id)?.state !== 'running'
    return drainer.wait(container, Date.parse(deadline) - Date.now(), isOver, onCount)
  }

  async mesh(): Promise<MeshReply> {
    const { state, mesh, dataplane } = this.#options
    const stats = await mesh.stats()
    return { dataplane: dataplane(), ports: viewMesh(state.snapshot, stats) }
  }

  async trace(port: number, protocol: string | undefined): Promise<TraceReply> {
    const { state, mesh } = this.#options
    const found = findPublished(state.snapshot, port, protocol)
    const hops = await mesh.trace(found.key, found.port.protocol, found.port.published)
    const keepsClient = this.#options.dataplane().kind !== 'userspace'
    return viewTrace(state.snapshot, found, hops, keepsClient)
  }

  async #undrain(container: Container, report: Report): Promise<void> {
    const { state } = this.#options
    await state.changeContainer(container.id, ({ draining: _draining, ...rest }) => rest)
    await this.#commit(report)
    const message = `Container ${container.name} takes connections again`
    report({ kind: 'done', message, changed: container.draining === undefined ? 0 : 1 })
  }

  /** Waits for the kernel, and says where it did not take what was declared. */
  async #commit(report: Report): Promise<void> {
    const { mesh } = this.#options
    await mesh.committed()
    for (const message of mesh.problems()) report({ kind: 'warning', message })
  }

  #findService(name: string): { readonly project: string; readonly service: ServiceSpec } {
    const { projects } = this.#options.state.snapshot
    const found = [...projects.values()].flatMap(project =>
      project.services
        .filter(one => one.name === name || `${project.name}/${one.name}` === name)
        .map(service => ({ project: project.name, service })),
    )
    const [only, ...others] = found
    if (only === undefined) throw notFound(name, this.listServices())
    if (others.length === 0) return only
    const names = found.map(({ project, service }) => `${project}/${service.name}`).join(', ')
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Several services are named "${name}": ${names}; say which`,
    )
  }
}

function notFound(name: string, services: readonly ServiceView[]): CatalogError {
  const known = services.map(one => `${one.project}/${one.name}`).join(', ')
  const what = known === '' ? 'none is up' : `there are ${known}`
  return new CatalogError('CATALOG_NOT_FOUND', `There is no service "${name}"; ${what}`)
}

function changeBalance(balance: BalanceSpec, request: UpdateServiceRequest): BalanceSpec {
  const { scheduler, affinity, affinityTimeoutSeconds, weights, drainSeconds } = request
  const kind = affinity ?? balance.affinity.kind
  if (affinityTimeoutSeconds !== undefined && kind === 'none') {
    throw new CatalogError(
      'CATALOG_REFUSED',
      'An affinity time-out means nothing without affinity; give --affinity client-ip as well',
    )
  }
  const known = balance.affinity.kind === 'client-ip' ? balance.affinity.timeoutSeconds : 10_800
  const timeoutSeconds = affinityTimeoutSeconds ?? known
  return {
    ...balance,
    ...(scheduler !== undefined && { scheduler }),
    affinity: kind === 'none' ? { kind } : { kind, timeoutSeconds },
    ...(weights !== undefined && { weights: { ...balance.weights, ...weights } }),
    ...(drainSeconds !== undefined && { drainMs: drainSeconds * 1000 }),
  }
}

function refuseUnknownReplicas(service: ServiceSpec, { weights = {} }: UpdateServiceRequest): void {
  const unknown = Object.keys(weights).find(number => Number(number) > service.replicas)
  if (unknown === undefined) return
  throw new CatalogError(
    'CATALOG_NOT_FOUND',
    `Service "${service.name}" has no replica ${unknown}; it has ${service.replicas}`,
  )
}
