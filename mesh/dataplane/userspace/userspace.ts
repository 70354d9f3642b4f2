/**
 * Balances connections in this process, for hosts where it may program nothing: no root, no nftables,
 * no IPVS. Destinations see the proxy's address, or the client's in a header where a service wants one.
 */

import { isDeepStrictEqual } from 'node:util'
import { formatAddress, parseAddress } from '../../../src/base/ip.js'
import { systemClock } from '../../../src/base/clock.js'
import { MeshError } from '../../error.js'
import { Ledger } from './ledger.js'
import { ListenerSet } from './listener-set.js'
import { Reactor } from './reactor.js'
import { ServiceRoute } from './route.js'
import { processSockets } from './socket.js'
import { traceService } from './trace.js'
import type { Clock } from '../../../src/base/clock.js'
import type { MeshState, PublishedPort, VirtualService } from '../../state.js'
import type { Dataplane, DestinationStats, Hop } from '../dataplane.js'
import type { Wanted } from './listener-set.js'
import type { Endpoint, SocketDoor } from './socket.js'
import type { TcpContext } from './tcp-connection.js'
import type { UdpContext } from './udp-proxy.js'

/** Ports of one range: each takes a descriptor a family. */
export const MAX_RANGE = 1024

export interface UserspaceOptions {
  readonly clock?: Clock
  /** Default: sockets of this process, with its rights. */
  readonly sockets?: SocketDoor
  /** What a socket's handler throws. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Default CONNECT_TIMEOUT_MS. */
  readonly connectTimeoutMs?: number
  /** Of one UDP port. Default MAX_FLOWS. */
  readonly maxFlows?: number
}

interface Routes {
  service: VirtualService
  readonly 4: ServiceRoute
  readonly 6: ServiceRoute
}

export class UserspaceDataplane implements Dataplane {
  readonly kind = 'userspace'
  readonly #clock: Clock
  readonly #ledger = new Ledger()
  readonly #context: TcpContext & UdpContext
  readonly #listeners: ListenerSet
  readonly #routes = new Map<string, Routes>()
  #isClosed = false

  constructor(options: UserspaceOptions = {}) {
    const reactor = new Reactor(options.onError)
    this.#clock = options.clock ?? systemClock
    this.#context = {
      reactor,
      clock: this.#clock,
      sockets: options.sockets ?? processSockets(reactor.block),
      connections: new Set(),
      connectTimeoutMs: options.connectTimeoutMs,
      maxFlows: options.maxFlows,
    }
    this.#listeners = new ListenerSet(this.#context)
  }

  /**
   * Does everything that a service can ask for but sctp and wide ranges. Of two things it falls short:
   * a destination sees the proxy's address (`proxyProtocol` tells the client's), and a client whose
   * destination refuses has been accepted already, and is reset.
   */
  check(service: VirtualService): void {
    for (const { ipv4, ipv6 } of service.destinations) {
      for (const address of [ipv4, ipv6]) if (address !== undefined) parseAddress(address)
    }
    for (const { protocol, first, last } of service.ports) {
      const refuse = (reason: string): never => {
        throw new MeshError('MESH_UNSUPPORTED', `Service "${service.name}": ${reason}`)
      }
      if (protocol === 'sctp') {
        refuse('the userspace dataplane proxies TCP and UDP; sctp needs nftables or ipvs')
      }
      if (last - first >= MAX_RANGE) {
        refuse(
          `the userspace dataplane opens a socket for each of ${last - first + 1} ports and stops at ${MAX_RANGE}; publish fewer, or use nftables or ipvs`,
        )
      }
    }
  }

  apply(desired: MeshState, changed?: ReadonlySet<string>): Promise<void> {
    return this.#try(() => void this.#bring(desired, changed ?? this.#allKeys(desired)))
  }

  /** There is nothing to adopt: sockets end with their process. */
  reconcile(desired: MeshState): Promise<number> {
    return this.#try(() => {
      const keys = this.#allKeys(desired)
      const different = [...keys].filter(
        key => !isDeepStrictEqual(this.#routes.get(key)?.service, desired.get(key)),
      )
      const known = new Set(different)
      const broken = this.#listeners
        .list()
        .filter(({ proxy, wanted }) => !proxy.isAsTold && !known.has(wanted.serviceKey))
      this.#bring(desired, keys)
      return different.length + broken.length
    })
  }

  /** Nothing to tell: nobody else can change this process's sockets. */
  onTampered(_body: () => void): void {}

  stats(): Promise<readonly DestinationStats[]> {
    return Promise.resolve(this.#ledger.list())
  }

  trace(service: VirtualService): Promise<readonly Hop[]> {
    const routes = this.#routes.get(service.key)
    const listeners = this.#listeners
      .list()
      .filter(({ wanted }) => wanted.serviceKey === service.key)
    return Promise.resolve(
      routes === undefined ? [] : traceService(routes.service, routes, listeners),
    )
  }

  close(): Promise<void> {
    this.#isClosed = true
    this.#listeners.close()
    return Promise.resolve()
  }

  async remove(): Promise<void> {
    await this.close()
    for (const connection of [...this.#context.connections]) connection.reset()
    this.#listeners.reset()
  }

  #try<T>(body: () => T): Promise<T> {
    return new Promise(resolve => {
      if (this.#isClosed) {
        throw new MeshError('MESH_NO_DATAPLANE', 'The userspace dataplane is closed; open another')
      }
      resolve(body())
    })
  }

  #allKeys(desired: MeshState): Set<string> {
    return new Set([...this.#routes.keys(), ...desired.keys()])
  }

  #bring(desired: MeshState, keys: ReadonlySet<string>): void {
    const services = [...keys].flatMap(key => desired.get(key) ?? [])
    for (const service of services) this.check(service)
    const routes = new Map(services.map(service => [service, this.#routesOf(service)]))
    const wanted = [...routes].flatMap(([service, route]) => listWanted(service, route))
    this.#listeners.apply(keys, wanted, () => {
      for (const [service, route] of routes) {
        route.service = service
        route[4].update(service)
        route[6].update(service)
        this.#routes.set(service.key, route)
      }
      for (const key of keys) {
        const ids = desired.get(key)?.destinations.map(({ id }) => id)
        this.#ledger.retain(key, new Set(ids))
        if (ids === undefined) this.#routes.delete(key)
      }
    })
  }

  #routesOf(service: VirtualService): Routes {
    const context = { clock: this.#clock, ledger: this.#ledger }
    return (
      this.#routes.get(service.key) ?? {
        service,
        4: new ServiceRoute(4, context),
        6: new ServiceRoute(6, context),
      }
    )
  }
}

/** The sockets of a service: one for each port, family and address. */
function listWanted(service: VirtualService, routes: Routes): Wanted[] {
  return service.ports.flatMap(published =>
    listEndpoints(published).map(endpoint => ({
      serviceKey: service.key,
      serviceName: service.name,
      protocol: published.protocol === 'udp' ? 'udp' : 'tcp',
      endpoint,
      isOptional: published.address === undefined,
      route: routes[endpoint.family],
      isTaking: service.destinations.some(
        ({ ipv4, ipv6 }) => (endpoint.family === 4 ? ipv4 : ipv6) !== undefined,
      ),
    })),
  )
}

function listEndpoints({ first, last, address }: PublishedPort): Endpoint[] {
  const places = address === undefined ? ['0.0.0.0', '::'] : [address]
  const parsed = places.map(parseAddress)
  return Array.from({ length: last - first + 1 }, (_, i) => first + i).flatMap(port =>
    parsed.map(place => ({ family: place.family, address: formatAddress(place), port })),
  )
}
