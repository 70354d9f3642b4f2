/**
 * Projects by command: up, down, scale. Everything that can be refused is refused before anything is
 * written; what is written is written in one transaction; what is written is then made true.
 */

import type { Report } from '../api/contract.js'
import { CodedError, errorMessage } from '../base/error.js'
import type { Snapshot } from '../catalog/catalog.js'
import { CatalogError } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { ServiceSpec } from '../catalog/service.js'
import { containersOf, planProject, type ProjectPlan } from '../plan/project.js'
import type { Addresses } from './addresses.js'
import { Mutex, Semaphore } from './mutex.js'
import { membersOf, type NetworkEffects, type Networks } from './networks.js'
import { describeOwner, ProjectDeclaration, removal } from './project-declaration.js'
import { startProject, waitForDependency } from './start-order.js'
import type { State } from './state.js'
import type { Supervisor } from './supervisor.js'

export class ProjectError extends CodedError<'PROJECT_NOT_FOUND' | 'PROJECT_FAILED'> {}

export interface ProjectsOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly networks: Networks
  readonly supervisor: Supervisor
  readonly effects: NetworkEffects
}

export interface ApplyOptions {
  readonly removeOrphans: boolean
  readonly isWaiting: boolean
  readonly timeoutMs: number
}

/** How many containers are started or stopped at a time: each costs a few forks and netlink calls. */
const concurrency = 16

export class Projects {
  readonly #options: ProjectsOptions
  readonly #declaration: ProjectDeclaration
  /** One command at a time a project; a new one ends the waiting of the one before. */
  readonly #locks = new Map<string, { readonly mutex: Mutex; abort: AbortController }>()
  /** Checks and writes of all projects: names, addresses and subnets are shared. */
  readonly #writing = new Mutex()
  readonly #slots = new Semaphore(concurrency)

  constructor(options: ProjectsOptions) {
    this.#options = options
    this.#declaration = new ProjectDeclaration(options)
  }

  /** Makes the project what `spec` says, by its difference to what is there. */
  apply(spec: ProjectSpec, options: ApplyOptions, report: Report): Promise<void> {
    return this.#exclusively(spec.name, signal => this.#apply(spec, options, report, signal))
  }

  /** Another number of replicas for some services. Throws CatalogError for services there are not. */
  async scale(
    name: string,
    replicas: Readonly<Record<string, number>>,
    options: ApplyOptions,
    report: Report,
  ): Promise<void> {
    const project = this.#require(name)
    for (const service of Object.keys(replicas)) {
      if (project.services.some(one => one.name === service)) continue
      const known = project.services.map(one => one.name).join(', ')
      throw new CatalogError(
        'CATALOG_NOT_FOUND',
        `Project "${name}" has no service "${service}"; it has ${known}`,
      )
    }
    const services = project.services.map(service => {
      const wanted = replicas[service.name]
      return wanted === undefined ? service : rescale(service, wanted)
    })
    await this.apply({ ...project, services }, options, report)
  }

  /** Stops and removes everything of the project, dependants first. */
  async down(name: string, graceMs: number | undefined, report: Report): Promise<void> {
    const { state } = this.#options
    const isKnown =
      state.snapshot.projects.has(name) || containersOf(state.snapshot, name).length > 0
    if (!isKnown) this.#require(name)
    await this.#exclusively(name, () => this.#down(name, graceMs, report))
  }

  /** Goes on with what was acknowledged before the daemon died: containers that never started. */
  async converge(report: Report): Promise<void> {
    const { state } = this.#options
    await Promise.all(
      [...state.snapshot.projects.values()].map(project =>
        this.#exclusively(project.name, signal =>
          this.#start(project, { timeoutMs: 120_000, onlyCreated: true }, report, signal),
        ),
      ),
    )
    await this.#removeStrayNetworks()
  }

  async #apply(
    spec: ProjectSpec,
    options: ApplyOptions,
    report: Report,
    signal: AbortSignal,
  ): Promise<void> {
    const startedAt = performance.now()
    const { state } = this.#options
    const { plan, created } = await this.#writing.run(() => this.#declare(spec, options, report))
    for (const { spec: network } of plan.createNetworks) {
      report({ kind: 'progress', message: `Network ${network.name} created` })
    }
    const replaced = plan.create.flatMap(({ replaces }) => replaces ?? [])
    const orphans = options.removeOrphans ? plan.orphans : []
    await this.#removeAll([...replaced, ...plan.remove, ...orphans], undefined, report)
    await this.#removeStrayNetworks()
    this.#options.effects.reconcile()
    const started = await this.#start(
      spec,
      { timeoutMs: options.timeoutMs, onlyCreated: false },
      report,
      signal,
    )
    if (options.isWaiting) await this.#waitUntilHealthy(spec, options.timeoutMs, signal)
    const changed =
      plan.createNetworks.length +
      plan.replaceNetworks.length +
      created +
      plan.remove.length +
      orphans.length +
      started
    const running = containersOf(state.snapshot, spec.name).filter(
      ({ id }) => state.snapshot.statuses.get(id)?.state === 'running',
    ).length
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
    const what = `${running} ${running === 1 ? 'container' : 'containers'} running`
    const message =
      changed === 0
        ? `${spec.name}: nothing to change, ${what}`
        : `${spec.name}: ${what}, in ${seconds} s`
    report({ kind: 'done', message, changed })
  }

  async #waitUntilHealthy(
    spec: ProjectSpec,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { catalog } = this.#options.state
    for (const service of spec.services) {
      if (service.container.healthcheck === undefined || service.replicas === 0) continue
      const condition = {
        service: service.name,
        condition: 'service_healthy',
        isRequired: true,
      } as const
      const what = `Project "${spec.name}" is not up: "${service.name}"`
      await waitForDependency({ spec, catalog, timeoutMs, signal }, what, condition)
    }
  }

  /** Plans and writes. Throws before anything is written. */
  async #declare(
    spec: ProjectSpec,
    options: ApplyOptions,
    report: Report,
  ): Promise<{ plan: ProjectPlan; created: number }> {
    const { state } = this.#options
    let plan = planProject(state.snapshot, spec)
    this.#declaration.check(spec, plan)
    if (plan.replaceNetworks.length > 0) {
      // For its refusals alone: after the next line there is no way back.
      this.#declaration.rehearse(spec, plan)
      await this.#removeReplaced(plan, report)
      plan = planProject(state.snapshot, spec)
    }
    if (plan.orphans.length > 0 && !options.removeOrphans) {
      const names = plan.orphans.map(({ name }) => name).join(', ')
      report({
        kind: 'warning',
        message: `${names}: not in the file any more; --remove-orphans removes them`,
      })
    }
    const goners = [
      ...plan.create.flatMap(({ replaces }) => replaces ?? []),
      ...plan.remove,
      ...(options.removeOrphans ? plan.orphans : []),
    ]
    const created = await this.#declaration.write(spec, plan, goners)
    return { plan, created: created.length }
  }

  /** Starts what does not run, in the order of dependencies. Returns how many were started. */
  async #start(
    spec: ProjectSpec,
    options: { readonly timeoutMs: number; readonly onlyCreated: boolean },
    report: Report,
    signal: AbortSignal,
  ): Promise<number> {
    const { state, supervisor } = this.#options
    const failures: string[] = []
    let started = 0
    const start = async (container: Container): Promise<void> => {
      const status = state.snapshot.statuses.get(container.id)
      const isDue = options.onlyCreated ? status?.state === 'created' : status?.state !== 'running'
      // A replica that ended well and is not to restart has done its work.
      const isDone = status?.state === 'exited' && status.exitCode === 0 && !status.failure
      if (!isDue || isDone || container.desired === 'removed') return
      if (options.onlyCreated && container.desired === 'stopped') return
      try {
        const wanted = { ...container, desired: 'running' as const }
        if (container.desired === 'stopped') {
          await state.declare([{ op: 'put-container', container: wanted }])
        }
        await this.#slots.run(() => supervisor.start(wanted))
        started++
        report({ kind: 'progress', message: describeStart(state.snapshot, container) })
      } catch (error) {
        failures.push(errorMessage(error))
      }
    }
    failures.push(
      ...(await startProject({
        spec,
        catalog: state.catalog,
        start,
        timeoutMs: options.timeoutMs,
        signal,
      })),
    )
    const [first, ...more] = failures
    if (first === undefined) return started
    const others = more.length === 0 ? '' : ` (and ${more.length} more)`
    throw new ProjectError('PROJECT_FAILED', `${first}${others}`)
  }

  async #down(name: string, graceMs: number | undefined, report: Report): Promise<void> {
    const { state } = this.#options
    const project = state.snapshot.projects.get(name)
    const containers = containersOf(state.snapshot, name)
    await this.#writing.run(() =>
      state.declare([
        ...containers.map(container => removal(container)),
        { op: 'remove-project', name },
      ]),
    )
    // Dependants first: who needs a service is gone before the service goes.
    const order = (project?.services ?? []).map(service => service.name).reverse()
    const rank = (container: Container): number => order.indexOf(container.service ?? '')
    const waves = new Map<number, Container[]>()
    for (const container of containers) {
      const wave = project && hasDependencies(project) ? rank(container) : 0
      waves.set(wave, [...(waves.get(wave) ?? []), container])
    }
    for (const [, wave] of [...waves].sort(([a], [b]) => a - b)) {
      await this.#removeAll(wave, graceMs, report)
    }
    const networks = await this.#removeStrayNetworks()
    for (const network of networks) {
      report({ kind: 'progress', message: `Network ${network} removed` })
    }
    const what = `${containers.length} containers and ${networks.length} networks removed`
    report({
      kind: 'done',
      message: `${name}: ${what}`,
      changed: containers.length + networks.length,
    })
  }

  async #removeAll(
    containers: readonly Container[],
    graceMs: number | undefined,
    report: Report,
  ): Promise<void> {
    await Promise.all(
      containers.map(container =>
        this.#slots.run(async () => {
          await this.#options.supervisor.remove(container, graceMs)
          report({ kind: 'progress', message: `Container ${container.name} removed` })
        }),
      ),
    )
  }

  /** A changed network goes with everything on it, before it is made anew. */
  async #removeReplaced(plan: ProjectPlan, report: Report): Promise<void> {
    const { state, networks } = this.#options
    for (const { old } of plan.replaceNetworks) {
      const members = membersOf(state.snapshot, old)
      const foreign = members.find(({ project }) => project !== old.project)
      if (foreign !== undefined) {
        throw new CatalogError(
          'CATALOG_IN_USE',
          `Network "${old.name}" has to be made anew and ${describeOwner(foreign)} is on it; disconnect it first`,
        )
      }
      await state.declare(members.map(container => removal(container)))
      await this.#removeAll(members, undefined, report)
      await networks.remove(old)
      report({ kind: 'progress', message: `Network ${old.name} removed, its declaration changed` })
    }
  }

  /** Networks whose project declares them no more. Returns their names. */
  async #removeStrayNetworks(): Promise<string[]> {
    const { state, networks } = this.#options
    const isDeclared = ({ project, name }: Network): boolean =>
      project === undefined ||
      state.snapshot.projects.get(project)?.networks.some(({ spec }) => spec.name === name) === true
    const stray = [...state.snapshot.networks.values()].filter(
      network => !isDeclared(network) && membersOf(state.snapshot, network).length === 0,
    )
    for (const network of stray) await networks.remove(network)
    return stray.map(({ name }) => name)
  }

  #require(name: string): ProjectSpec {
    const project = this.#options.state.snapshot.projects.get(name)
    if (project !== undefined) return project
    const known = [...this.#options.state.snapshot.projects.keys()]
    const what = known.length === 0 ? 'none is up' : `up: ${known.join(', ')}`
    throw new ProjectError('PROJECT_NOT_FOUND', `There is no project "${name}"; ${what}`)
  }

  async #exclusively<T>(name: string, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const lock = this.#locks.get(name) ?? { mutex: new Mutex(), abort: new AbortController() }
    this.#locks.set(name, lock)
    lock.abort.abort()
    lock.abort = new AbortController()
    const { signal } = lock.abort
    return lock.mutex.run(() => body(signal))
  }
}

function rescale(service: ServiceSpec, replicas: number): ServiceSpec {
  if (replicas > 1 && service.containerName !== undefined) {
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Service "${service.name}" has the container_name "${service.containerName}" and can have one replica only`,
    )
  }
  const fixed = service.attachments.find(({ ipv4, ipv6 }) => ipv4 ?? ipv6)
  if (replicas > 1 && fixed !== undefined) {
    throw new CatalogError(
      'CATALOG_REFUSED',
      `Service "${service.name}" has the static address ${fixed.ipv4 ?? fixed.ipv6} on "${fixed.network}" and can have one replica only`,
    )
  }
  return { ...service, replicas }
}

function hasDependencies(project: ProjectSpec): boolean {
  return project.services.some(({ dependsOn }) => dependsOn.length > 0)
}

function describeStart(snapshot: Snapshot, container: Container): string {
  const where = container.endpoints.map(({ networkId, ipv4, ipv6 }) => {
    const addresses = [ipv4, ipv6].flatMap(cidr => cidr?.split('/')[0] ?? [])
    return `${snapshot.networks.get(networkId)?.name ?? networkId} ${addresses.join(' ')}`
  })
  return `Container ${container.name} started${where.length > 0 ? `: ${where.join(', ')}` : ''}`
}
