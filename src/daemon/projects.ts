/**
 * Projects by command: up, down, scale. Everything that can be refused is refused before anything is
 * written; what is written is written in one transaction; what is written is then made true.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Report } from '../api/contract.js'
import { CodedError, errorMessage } from '../base/error.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Change } from '../catalog/change.js'
import { CatalogError } from '../catalog/check.js'
import type { Container } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { ServiceSpec } from '../catalog/service.js'
import { containersOf, planProject, type ProjectPlan } from '../plan/project.js'
import type { Addresses } from './addresses.js'
import { Mutex, Semaphore } from './mutex.js'
import { membersOf, type NetworkEffects, type Networks } from './networks.js'
import {
  describeOwner,
  ProjectDeclaration,
  refuseLeaving,
  removal,
  type MeshDeclaration,
} from './project-declaration.js'
import { Rollout, rolledReplicas } from './rollout.js'
import { startProject, waitForDependency } from './start-order.js'
import type { State } from './state.js'
import type { StopOptions, Supervisor } from './supervisor.js'

export class ProjectError extends CodedError<'PROJECT_NOT_FOUND' | 'PROJECT_FAILED'> {}

export interface ProjectsOptions {
  readonly state: State
  readonly addresses: Addresses
  readonly networks: Networks
  readonly supervisor: Supervisor
  readonly effects: NetworkEffects
  readonly mesh: MeshDeclaration
}

interface ProjectLock {
  readonly mutex: Mutex
  /** Ends the waiting of the command that runs now. */
  abort: AbortController
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
  readonly #locks = new Map<string, ProjectLock>()
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
  scale(
    name: string,
    replicas: Readonly<Record<string, number>>,
    options: ApplyOptions,
    report: Report,
  ): Promise<void> {
    this.#require(name)
    return this.#exclusively(name, signal => {
      const project = this.#require(name)
      for (const service of Object.keys(replicas)) requireService(project, service)
      const services = project.services.map(service => {
        const wanted = replicas[service.name]
        return wanted === undefined ? service : rescale(service, wanted)
      })
      return this.#apply({ ...project, services }, options, report, signal)
    })
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
        this.#patiently(project.name, async signal => {
          const current = state.snapshot.projects.get(project.name)
          if (current === undefined) return
          await this.#start(current, { timeoutMs: 120_000, onlyCreated: true }, report, signal)
        }),
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
    const before = state.snapshot.projects.get(spec.name)
    const { plan, created, rolled } = await this.#declare(spec, options, report)
    for (const { spec: network } of plan.createNetworks) {
      report({ kind: 'progress', message: `Network ${network.name} created` })
    }
    const orphans = options.removeOrphans ? plan.orphans : []
    const goners = gonersOf(plan, options).filter(({ id }) => !rolled.has(id))
    await this.#removeAll(goners, { isDrained: true }, report)
    await this.#removeStrayNetworks()
    this.#options.effects.reconcile(networksOf(state.snapshot, spec))
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
    const what = `${count(running, 'container')} running`
    const isAsBefore = changed === 0 && isBalancedAlike(before, spec)
    const message = isAsBefore
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
  ): Promise<{ plan: ProjectPlan; created: number; rolled: ReadonlySet<string> }> {
    const { state } = this.#options
    await this.#removeReplaced(spec, options, report)
    return state.writing.run(async () => {
      const plan = planProject(state.snapshot, spec)
      this.#declaration.check(spec, plan)
      if (plan.orphans.length > 0 && !options.removeOrphans) {
        const names = plan.orphans.map(({ name }) => name).join(', ')
        report({
          kind: 'warning',
          message: `${names}: not in the file any more; --remove-orphans removes them`,
        })
      }
      const rolled = rolledReplicas(state.snapshot, plan)
      const goners = gonersOf(plan, options)
      const created = await this.#declaration.write(spec, plan, goners, rolled)
      return { plan, created: created.length, rolled }
    })
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
    const rollout = new Rollout({
      catalog: state.catalog,
      project: spec.name,
      timeoutMs: options.timeoutMs,
      signal,
      remove: old => this.#removeReplica(old, report),
    })
    const start = async (container: Container): Promise<void> => {
      if (!isDue(state.snapshot, container, options.onlyCreated)) return
      try {
        await rollout.replace(container, async () => {
          const wanted = await state.changeContainer(container.id, refuseLeaving)
          if (wanted === undefined) return
          await this.#slots.run(() => supervisor.start(wanted))
          started++
          report({ kind: 'progress', message: describeStart(state.snapshot, container) })
        })
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
    const { project, containers } = await state.writing.run(async () => {
      const { snapshot } = state
      const goners = containersOf(snapshot, name)
      const allocations = [...snapshot.allocations.values()].filter(one => one.project === name)
      await state.declare([
        ...goners.map(removal),
        ...allocations.map(({ key }): Change => ({ op: 'remove-allocation', key })),
        { op: 'remove-project', name },
      ])
      for (const allocation of allocations) this.#options.addresses.releaseVips(allocation)
      return { project: snapshot.projects.get(name), containers: goners }
    })
    // Everything goes: nobody is left to take over.
    const stop = { ...(graceMs !== undefined && { graceMs }), isDrained: false }
    // Dependants first: who needs a service is gone before the service goes.
    const depths = project === undefined ? new Map<string, number>() : dependencyDepths(project)
    const waves = new Map<number, Container[]>()
    for (const container of containers) {
      const depth = depths.get(container.service ?? '') ?? 0
      waves.set(depth, [...(waves.get(depth) ?? []), container])
    }
    for (const [, wave] of [...waves].sort(([a], [b]) => a - b)) {
      await this.#removeAll(wave, stop, report)
    }
    const networks = await this.#removeStrayNetworks()
    // The ingress bridge goes with its last replica.
    this.#options.effects.reconcile([])
    for (const network of networks) {
      report({ kind: 'progress', message: `Network ${network} removed` })
    }
    const what = `${count(containers.length, 'container')} and ${count(networks.length, 'network')} removed`
    report({
      kind: 'done',
      message: `${name}: ${what}`,
      changed: containers.length + networks.length,
    })
  }

  /** One that its successor takes the place of. */
  async #removeReplica(container: Container, report: Report): Promise<void> {
    const { state, supervisor } = this.#options
    const goner = await state.changeContainer(container.id, one => ({ ...one, desired: 'removed' }))
    if (goner === undefined) return
    await supervisor.remove(goner, { isDrained: true })
    report({ kind: 'progress', message: `Container ${container.name} removed` })
  }

  async #removeAll(
    containers: readonly Container[],
    stop: StopOptions,
    report: Report,
  ): Promise<void> {
    await Promise.all(
      containers.map(container =>
        this.#slots.run(async () => {
          await this.#options.supervisor.remove(container, stop)
          report({ kind: 'progress', message: `Container ${container.name} removed` })
        }),
      ),
    )
    await this.#options.effects.settled()
  }

  /**
   * A changed network goes with everything on it, before it is made anew. What the new one would be
   * refused for is refused first: afterwards there is no way back.
   */
  async #removeReplaced(spec: ProjectSpec, options: ApplyOptions, report: Report): Promise<void> {
    const { state, networks } = this.#options
    const goners = await state.writing.run(async () => {
      const plan = planProject(state.snapshot, spec)
      if (plan.replaceNetworks.length === 0) return undefined
      this.#declaration.check(spec, plan)
      const members = plan.replaceNetworks.flatMap(({ old }) => {
        const found = membersOf(state.snapshot, old)
        refuseForeign(old, found)
        return found
      })
      this.#declaration.rehearse(spec, plan, [...gonersOf(plan, options), ...members])
      await state.declare(members.map(removal))
      return { members, olds: plan.replaceNetworks.map(({ old }) => old) }
    })
    if (goners === undefined) return
    await this.#removeAll(goners.members, { isDrained: false }, report)
    for (const old of goners.olds) {
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
    const lock = this.#lockOf(name)
    lock.abort.abort()
    lock.abort = new AbortController()
    const { signal } = lock.abort
    return lock.mutex.run(() => body(signal))
  }

  /** As `#exclusively`, after whoever is there: nobody's waiting is ended. */
  #patiently<T>(name: string, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const lock = this.#lockOf(name)
    return lock.mutex.run(() => body(lock.abort.signal))
  }

  #lockOf(name: string): ProjectLock {
    const lock = this.#locks.get(name) ?? { mutex: new Mutex(), abort: new AbortController() }
    this.#locks.set(name, lock)
    return lock
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

/** Whether connections to each service are spread as they were. */
function isBalancedAlike(before: ProjectSpec | undefined, after: ProjectSpec): boolean {
  return after.services.every(({ name, balance, update }) => {
    const known = before?.services.find(service => service.name === name)
    return isDeepStrictEqual([known?.balance, known?.update], [balance, update])
  })
}

/** Whether `up` (or, `onlyCreated`, a daemon that comes up) has to start this container. */
function isDue(snapshot: Snapshot, container: Container, onlyCreated: boolean): boolean {
  const status = snapshot.statuses.get(container.id)
  if (container.desired === 'removed' || status === undefined) return false
  if (onlyCreated) return container.desired === 'running' && status.state === 'created'
  if (container.desired === 'stopped') return true
  // What ended well and is not to restart has done its work; what restarts will by itself.
  const isDone = status.state === 'exited' && status.exitCode === 0 && status.failure === undefined
  return (status.state === 'created' || status.state === 'exited') && !isDone
}

/** Ids of the networks that a project's containers are on. */
function networksOf(snapshot: Snapshot, project: ProjectSpec): string[] {
  const members = containersOf(snapshot, project.name)
  return members.flatMap(({ endpoints }) => endpoints.map(({ networkId }) => networkId))
}

function requireService(project: ProjectSpec, name: string): void {
  if (project.services.some(service => service.name === name)) return
  const known = project.services.map(service => service.name).join(', ')
  throw new CatalogError(
    'CATALOG_NOT_FOUND',
    `Project "${project.name}" has no service "${name}"; it has ${known}`,
  )
}

/** What goes with a plan. */
function gonersOf(plan: ProjectPlan, options: ApplyOptions): Container[] {
  return [
    ...plan.create.flatMap(({ replaces }) => replaces ?? []),
    ...plan.remove,
    ...(options.removeOrphans ? plan.orphans : []),
  ]
}

function refuseForeign(network: Network, members: readonly Container[]): void {
  const foreign = members.find(({ project }) => project !== network.project)
  if (foreign === undefined) return
  throw new CatalogError(
    'CATALOG_IN_USE',
    `Network "${network.name}" has to be made anew and ${describeOwner(foreign)} is on it; disconnect it first`,
  )
}

/** For each service, how many others depend on it in a chain: 0 can be stopped first. */
function dependencyDepths({ services }: ProjectSpec): Map<string, number> {
  const depths = new Map<string, number>()
  // A service comes after those it depends on, so from the end every dependant is known.
  for (const { name, dependsOn } of [...services].reverse()) {
    const depth = depths.get(name) ?? 0
    depths.set(name, depth)
    for (const { service } of dependsOn) {
      depths.set(service, Math.max(depths.get(service) ?? 0, depth + 1))
    }
  }
  return depths
}

function describeStart(snapshot: Snapshot, container: Container): string {
  const own = container.endpoints.filter(
    ({ networkId }) => snapshot.networks.get(networkId)?.isIngress !== true,
  )
  const where = own.map(({ networkId, ipv4, ipv6 }) => {
    const addresses = [ipv4, ipv6].flatMap(cidr => cidr?.split('/')[0] ?? [])
    return `${snapshot.networks.get(networkId)?.name ?? networkId} ${addresses.join(' ')}`
  })
  return `Container ${container.name} started${where.length > 0 ? `: ${where.join(', ')}` : ''}`
}

/** `1 container`, `2 containers`. */
function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
