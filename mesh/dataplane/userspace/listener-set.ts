/**
 * The ports that are listened on: opens those that are wanted and not there, closes those that are
 * there and not wanted, all or nothing.
 */

import { errorCode } from '../../../src/base/error.js'
import { KernelError } from '../../../src/kernel/error.js'
import { MeshError } from '../../error.js'
import { describeEndpoint } from './socket.js'
import { TcpProxy } from './tcp-proxy.js'
import { UdpProxy } from './udp-proxy.js'
import type { Route } from './route.js'
import type { Endpoint } from './socket.js'
import type { TcpContext } from './tcp-connection.js'
import type { UdpContext } from './udp-proxy.js'

/** A socket that a service wants. */
export interface Wanted {
  readonly serviceKey: string
  readonly serviceName: string
  readonly protocol: 'tcp' | 'udp'
  readonly endpoint: Endpoint
  /** Nobody asked for this family: where the host lacks it, the other one does. */
  readonly isOptional: boolean
  readonly route: Route
  /** False: the port is held, and clients are refused. */
  readonly isTaking: boolean
}

export interface Listener {
  readonly wanted: Wanted
  readonly proxy: TcpProxy | UdpProxy
}

export class ListenerSet {
  readonly #context: TcpContext & UdpContext
  readonly #listeners = new Map<string, Listener>()
  /** Closed, and answers to living flows still go out of them. */
  readonly #ending = new Set<UdpProxy>()

  constructor(context: TcpContext & UdpContext) {
    this.#context = context
  }

  list(): readonly Listener[] {
    return [...this.#listeners.values()]
  }

  /**
   * Of the services of `changed`, listens on `wanted` and nothing else. Returns how many sockets were
   * opened and closed. `commit` runs when nothing can fail any more. Throws MeshError `MESH_PORT_IN_USE`, `MESH_BAD_SERVICE`, KernelError; then
   * everything is as before.
   */
  apply(changed: ReadonlySet<string>, wanted: readonly Wanted[], commit: () => void): number {
    const byName = new Map(wanted.map(entry => [nameOf(entry), entry]))
    const gone = this.list().filter(
      ({ wanted: old, proxy }) =>
        changed.has(old.serviceKey) && (!byName.has(nameOf(old)) || !proxy.isAsTold),
    )
    this.#refuseClashes(changed, wanted)
    const isGone = new Set(gone.map(listener => nameOf(listener.wanted)))
    const fresh = wanted.filter(
      entry => isGone.has(nameOf(entry)) || !this.#listeners.has(nameOf(entry)),
    )
    // A port that moves between one address and all of them cannot have both for a moment.
    const displaced = gone.filter(old => fresh.some(entry => doOverlap(old.wanted, entry)))
    for (const old of displaced) this.#close(old)
    const opened = this.#openAll(fresh, displaced)
    for (const old of gone) if (!displaced.includes(old)) this.#close(old)
    for (const listener of opened) this.#listeners.set(nameOf(listener.wanted), listener)
    commit()
    for (const entry of wanted) this.#direct(entry)
    return gone.length + opened.length
  }

  /** Stops listening; living connections and flows go on. */
  close(): void {
    for (const { proxy } of this.#listeners.values()) {
      proxy.close()
      if (proxy instanceof UdpProxy) this.#ending.add(proxy)
    }
    this.#listeners.clear()
  }

  /** Ends the flows that `close` left. */
  reset(): void {
    for (const proxy of this.#ending) proxy.reset()
    this.#ending.clear()
  }

  #openAll(fresh: readonly Wanted[], displaced: readonly Listener[]): Listener[] {
    const opened: Listener[] = []
    try {
      for (const wanted of fresh) {
        const proxy = this.#open(wanted)
        if (proxy !== undefined) opened.push({ wanted, proxy })
      }
      return opened
    } catch (error) {
      for (const { proxy } of opened) proxy.close()
      for (const { wanted } of displaced) {
        const proxy = this.#open(wanted)
        if (proxy === undefined) continue
        this.#listeners.set(nameOf(wanted), { wanted, proxy })
        proxy.setTaking(wanted.isTaking)
      }
      throw error
    }
  }

  #open(wanted: Wanted): TcpProxy | UdpProxy | undefined {
    const { protocol, endpoint, route } = wanted
    try {
      return protocol === 'tcp'
        ? new TcpProxy(this.#context, endpoint, route)
        : new UdpProxy(this.#context, endpoint, route)
    } catch (error) {
      const code = errorCode(error)
      if (wanted.isOptional && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL'))
        return undefined
      throw explain(error, wanted)
    }
  }

  #close({ wanted, proxy }: Listener): void {
    this.#listeners.delete(nameOf(wanted))
    if (proxy instanceof UdpProxy) proxy.reset()
    proxy.close()
  }

  #direct(wanted: Wanted): void {
    const listener = this.#listeners.get(nameOf(wanted))
    if (listener === undefined) return
    listener.proxy.setRoute(wanted.route)
    listener.proxy.setTaking(wanted.isTaking)
    this.#listeners.set(nameOf(wanted), { wanted, proxy: listener.proxy })
  }

  #refuseClashes(changed: ReadonlySet<string>, wanted: readonly Wanted[]): void {
    const others = this.list().flatMap(({ wanted: old }) =>
      changed.has(old.serviceKey) ? [] : [old],
    )
    const seen = new Map<string, Wanted[]>()
    for (const entry of [...others, ...wanted]) {
      const place = `${entry.protocol} ${entry.endpoint.family} ${entry.endpoint.port}`
      const neighbours = seen.get(place) ?? []
      const clash = neighbours.find(other => doOverlap(other, entry))
      if (clash !== undefined) {
        throw new MeshError(
          'MESH_BAD_SERVICE',
          `Services "${clash.serviceName}" and "${entry.serviceName}" both publish port ${entry.endpoint.port}/${entry.protocol}, on ${clash.endpoint.address} and ${entry.endpoint.address}; change one of them`,
        )
      }
      seen.set(place, [...neighbours, entry])
    }
  }
}

function nameOf({ protocol, endpoint }: Wanted): string {
  return `${protocol} ${describeEndpoint(endpoint)}`
}

function doOverlap(a: Wanted, b: Wanted): boolean {
  const isWildcard = ({ endpoint: { address } }: Wanted): boolean =>
    address === '0.0.0.0' || address === '::'
  return (
    a.protocol === b.protocol &&
    a.endpoint.port === b.endpoint.port &&
    a.endpoint.family === b.endpoint.family &&
    (a.endpoint.address === b.endpoint.address || isWildcard(a) || isWildcard(b))
  )
}

function explain(error: unknown, { protocol, endpoint, serviceName }: Wanted): unknown {
  const code = errorCode(error)
  const place = `port ${endpoint.port}/${protocol} on ${endpoint.address} for "${serviceName}"`
  if (code === 'EADDRINUSE') {
    return new MeshError(
      'MESH_PORT_IN_USE',
      `Cannot listen on ${place}: another program has it; stop that one or publish another port`,
      { cause: error },
    )
  }
  if (code === 'EACCES') {
    return new KernelError(
      code,
      `Cannot listen on ${place}: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; publish a higher one`,
      { cause: error },
    )
  }
  return error
}
