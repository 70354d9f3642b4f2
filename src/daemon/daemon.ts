/** The only composition root: every part is made here, joined, and closed in reverse order. */

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { WantedDataplane } from '../../mesh/index.js'
import { openPoller } from '../../resolver/listen/poller.js'
import { Resolver } from '../../resolver/index.js'
import type { Paths } from '../api/paths.js'
import type { ProgressEvent } from '../api/contract.js'
import { systemClock } from '../base/clock.js'
import { CodedError, errorMessage } from '../base/error.js'
import { Lifetime } from '../base/lifetime.js'
import type { Logger } from '../base/log.js'
import { BridgeDriver, bridgeMac } from '../drivers/bridge.js'
import { planIngressPlace } from '../plan/mesh.js'
import { openLmdbStore, trustedRecord, type Store } from '../store/index.js'
import { Addresses } from './addresses.js'
import { checkService, openDataplanes } from './dataplanes.js'
import { ConnectionDrainer } from './drain.js'
import { Effects } from './effects.js'
import { listenerFinder } from './host-ports.js'
import { HostResolver, planContainerResolvConf } from './host-resolver.js'
import { openHostView } from './host-view.js'
import { openLog } from './log.js'
import { MeshControl } from './mesh.js'
import { MeshOperations } from './mesh-operations.js'
import { Names } from './names.js'
import { Networks } from './networks.js'
import type { MeshDeclaration } from './project-declaration.js'
import { Projects } from './projects.js'
import { ReadinessKeeper } from './readiness.js'
import { openReconcileLoop } from './reconcile.js'
import { finishStops, recoverContainers } from './recovery.js'
import { SandboxMeshes } from './sandbox-meshes.js'
import { Sandboxes } from './sandboxes.js'
import { State, type Records } from './state.js'
import { describeStatus } from './status.js'
import { Supervisor } from './supervisor.js'

export interface DaemonOptions {
  readonly paths: Paths
  /** Started by `up`: ends by itself when nothing is left. */
  readonly isBackground: boolean
  readonly logLevel: string
  /** Default /etc/resolv.conf. */
  readonly resolvConf: string
  readonly dataplane: WantedDataplane
}

export class DaemonError extends CodedError<'NOT_ROOT'> {}

export interface Daemon {
  /** Resolves when the daemon was asked to end. */
  readonly ended: Promise<void>
  /** Ends it; containers go on running. */
  close(): Promise<void>
}

/** How long a background daemon stays with nothing to do: a `down` may be followed by an `up`. */
const idleMs = 500

/** Runs until SIGTERM, SIGINT or `shutdown`. Throws before anything is made where it cannot run. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const logger = openLog(options.logLevel)
  const daemon = await openDaemon(options, logger)
  let signalled: (() => void) | undefined
  const interrupted = new Promise<void>(resolve => (signalled = resolve))
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => signalled?.())
  }
  // A fault in one packet, peer or container must not take every container's names away.
  process.on('uncaughtException', error => logger.error({ err: error }, 'Unexpected failure'))
  process.on('unhandledRejection', error => logger.error({ err: error }, 'Unexpected failure'))
  await Promise.race([daemon.ended, interrupted])
  await daemon.close()
  logger.info({}, 'The daemon ended; containers go on running')
  process.exit(0)
}

export async function openDaemon(options: DaemonOptions, logger: Logger): Promise<Daemon> {
  if (process.geteuid?.() !== 0) {
    throw new DaemonError(
      'NOT_ROOT',
      'The daemon makes network namespaces and needs root for it; run the command with sudo',
    )
  }
  const lifetime = new Lifetime()
  try {
    return await compose(options, logger, lifetime)
  } catch (error) {
    await lifetime.close()
    throw error
  }
}

async function compose(
  options: DaemonOptions,
  logger: Logger,
  lifetime: Lifetime,
): Promise<Daemon> {
  const { paths } = options
  for (const directory of [paths.store, paths.containers, dirname(paths.socket)]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }
  const store = await openStore(paths.store)
  lifetime.defer(() => store.close())
  const instance = await readInstance(store)
  const poller = openPoller(error => logger.error({ err: error }, 'A descriptor failed'))
  lifetime.defer(() => poller.close())
  const resolver = new Resolver({ poller, logger })
  lifetime.defer(() => resolver.close())
  const state = new State(store, logger)
  const table = paths.root === '/' ? 'portolan' : `portolan_${instance.slice(0, 8)}`
  const ipvsLink = `ptl-ipvs-${instance.slice(0, 4)}`
  const driver = new BridgeDriver({ instance, table, innerLinks: [ipvsLink] })
  const names = new Names(resolver)
  const hostResolver = new HostResolver(options.resolvConf, () => void followHostResolver())
  lifetime.defer(() => hostResolver.close())
  const addresses = new Addresses(state)
  const dataplanes = await openDataplanes({
    wanted: options.dataplane,
    table: table.replace('portolan', 'portolan_mesh'),
    runDirectory: dirname(paths.socket),
    ipvsLink,
    poller,
    logger,
  })
  logger.info({ dataplane: dataplanes.choice.kind }, `Dataplane: ${dataplanes.choice.reason}`)
  const mesh: MeshControl = new MeshControl({
    sandboxes: new SandboxMeshes({ state, place: () => mesh.place, logger }),
    openDataplane: place => dataplanes.open(place),
    removeLeft: isPublishing => dataplanes.removeLeft(isPublishing),
    preparePlace: () => {
      const network = [...state.snapshot.networks.values()].find(({ isIngress }) => isIngress)
      if (network === undefined) return undefined
      effects.reconcile([network.id])
      const name = driver.bridgeOf(network.id)
      if (name === undefined) return undefined
      return planIngressPlace(network, { name, mac: bridgeMac(network) }, ipvsLink)
    },
    logger,
  })
  lifetime.defer(() => mesh.close())
  const sandboxes = new Sandboxes({
    state,
    names,
    resolver,
    driver,
    hostResolver,
    poller,
    logger,
    mesh,
  })
  lifetime.defer(() => sandboxes.release())
  const effects: Effects = new Effects({ state, driver, sandboxes, mesh })
  const drainer = new ConnectionDrainer({
    state,
    sandboxes,
    committed: () => mesh.committed(),
    logger,
  })
  const supervisor = new Supervisor({
    state,
    addresses,
    sandboxes,
    poller,
    clock: systemClock,
    logger,
    directory: paths.containers,
    drainer,
    readiness: new ReadinessKeeper({ state, sandboxes, clock: systemClock }),
  })
  lifetime.defer(() => supervisor.close())
  const isOurs = (alias: string): boolean => alias.startsWith(`portolan:${instance}:`)
  const host = openHostView(hostResolver, isOurs)
  const networks = new Networks({ state, addresses, host, effects, instance })
  const declaration: MeshDeclaration = {
    listenerFinder,
    check: service => checkService(service, dataplanes),
  }
  const projects = new Projects({
    state,
    addresses,
    networks,
    supervisor,
    effects,
    mesh: declaration,
  })
  const meshOperations = new MeshOperations({
    state,
    mesh,
    drainer,
    declaration,
    dataplane: () => dataplanes.choice,
  })

  const followHostResolver = async (): Promise<void> => {
    logger.info({ path: hostResolver.current.path }, 'The host has other nameservers now')
    resolver.flushCache()
    await sandboxes.reconcileAll().catch((error: unknown) => logger.error({}, errorMessage(error)))
    supervisor.repairFiles()
  }

  names.load(state.snapshot)
  state.catalog.subscribe((snapshot, delta, previous) => names.update(snapshot, delta, previous))
  await networks.createBuiltins()
  try {
    effects.reconcile()
  } catch (error) {
    // One network that the kernel refuses must not take the names of all others away.
    logger.error({}, errorMessage(error))
  }
  const recovery = {
    state,
    supervisor,
    sandboxes,
    poller,
    clock: systemClock,
    logger,
    directory: paths.containers,
  }
  await mesh.load(state.snapshot)
  state.catalog.subscribe((snapshot, delta, previous) => mesh.update(snapshot, delta, previous))
  await recoverContainers(recovery)
  effects.sweep()
  const loop = openReconcileLoop({
    reconcile: () => effects.reconcileAll(),
    effects,
    poller,
    clock: systemClock,
    logger,
  })
  lifetime.defer(() => loop.close())

  // What commands need is loaded when names are answered again: it is half of all there is to load.
  const { openApiServer } = await import('../api/server.js')
  const { DaemonOperations } = await import('./operations.js')
  let end: () => void = () => undefined
  const ended = new Promise<void>(resolve => (end = resolve))
  const startedAt = new Date().toISOString()
  const operations = new DaemonOperations({
    state,
    supervisor,
    networks,
    projects,
    sandboxes,
    mesh: meshOperations,
    resolver,
    upstreamsOf: container =>
      planContainerResolvConf(container, 'internal', hostResolver.current, true).upstreams.map(
        ({ address }) => address,
      ),
    bridgeOf: id => driver.bridgeOf(id),
    status: () =>
      describeStatus({
        state,
        sandboxes,
        resolver,
        startedAt,
        root: paths.root,
        isBackground: options.isBackground,
        problems: [...loop.problems(), ...mesh.problems()],
        dataplane: dataplanes.choice,
      }),
    shutdown: end,
    afterDown: () => {
      if (options.isBackground) endWhenIdle()
    },
  })
  const endWhenIdle = (): void => {
    setTimeout(() => {
      if (!isEmpty(state)) return
      // Somebody is here: the last one to leave turns off the light.
      if (server.active > 0) endWhenIdle()
      else end()
    }, idleMs)
  }
  const server = await openApiServer(operations, paths.socket)
  lifetime.defer(() => server.close())
  logger.info({ socket: paths.socket, pid: process.pid }, 'The daemon is up')
  // After the socket answers: what was acknowledged may take its time to stop and to start.
  void supervisor.watchLogs()
  const goOn = async (): Promise<void> => {
    for (const container of state.snapshot.containers.values()) {
      if (container.draining !== undefined) void meshOperations.finishDrain(container)
    }
    await finishStops(recovery)
    await projects.converge(report(logger))
  }
  goOn().catch((error: unknown) => logger.error({}, errorMessage(error)))
  return { ended, close: () => lifetime.close() }
}

function openStore(directory: string): Promise<Store<Records>> {
  return openLmdbStore<Records>(directory, {
    network: trustedRecord(),
    container: trustedRecord(),
    status: trustedRecord(),
    project: trustedRecord(),
    allocation: trustedRecord(),
    cursor: trustedRecord(),
    meta: trustedRecord(),
  })
}

/** 16 hexadecimal digits that mark what is this daemon's, made at the first start. */
async function readInstance(store: Store<Records>): Promise<string> {
  const known = store.get('meta', 'daemon')
  if (known !== undefined) return known.instance
  const instance = randomBytes(8).toString('hex')
  await store.transact(transaction => transaction.put('meta', 'daemon', { instance }))
  return instance
}

function isEmpty({ snapshot }: State): boolean {
  const hasNetworks = [...snapshot.networks.values()].some(({ isBuiltin }) => !isBuiltin)
  return snapshot.containers.size === 0 && snapshot.projects.size === 0 && !hasNetworks
}

function report(logger: Logger) {
  return (event: ProgressEvent): void => {
    if (event.kind === 'error' || event.kind === 'warning') logger.warn({}, event.message)
    else logger.info({}, event.message)
  }
}
