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
    this.#refuseDoubles(changed, wanted)
    const isGone = new Set(gone.map(listener => nameOf(listener.wanted)))
    const fresh = wanted.filter(
      entry => isGone.has(nameOf(entry)) || !this.#listeners.has(nameOf(entry)),
    )
    // A port that moves between one address and all of them cannot have both for a moment.
    const displaced = gone.filter(old => fresh.some(entry => doOverlap(old.wanted, entry)))
    for (const old of displaced) this.#close(old)
    const crowds = groupByPlace([...this.#others(changed), ...wanted])
    const opened = this.#openAll(fresh, displaced, crowds)
    for (const old of gone) if (!displaced.includes(old)) this.#close(old)
    for (const listener of opened) this.#listeners.set(nameOf(listener.wanted), listener)
    commit()
    for (const entry of wanted) this.#direct(entry)
    for (const { wanted: entry, proxy } of this.#listeners.values()) {
      proxy.setTaking(entry.isTaking || isShadowed(entry, crowds))
    }
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

  #openAll(fresh: readonly Wanted[], displaced: readonly Listener[], crowds: Crowds): Listener[] {
    const opened: Listener[] = []
    try {
      for (const wanted of fresh) {
        const neighbours = neighboursOf(wanted, crowds)
        for (const other of neighbours) this.#listeners.get(nameOf(other))?.proxy.share()
        const proxy = this.#open(wanted, neighbours.length > 0)
        if (proxy !== undefined) opened.push({ wanted, proxy })
      }
      return opened
    } catch (error) {
      for (const { proxy } of opened) proxy.close()
      for (const { wanted } of displaced) {
        const proxy = this.#open(wanted, true)
        if (proxy === undefined) continue
        this.#listeners.set(nameOf(wanted), { wanted, proxy })
        proxy.setTaking(wanted.isTaking)
      }
      throw error
    }
  }

  #open(wanted: Wanted, isShared: boolean): TcpProxy | UdpProxy | undefined {
    const { protocol, endpoint, route } = wanted
    try {
      return protocol === 'tcp'
        ? new TcpProxy(this.#context, endpoint, route, isShared)
        : new UdpProxy(this.#context, endpoint, route, isShared)
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
    this.#listeners.set(nameOf(wanted), { wanted, proxy: listener.proxy })
  }

  #refuseDoubles(changed: ReadonlySet<string>, wanted: readonly Wanted[]): void {
    const seen = new Map<string, Wanted>()
    for (const entry of [...this.#others(changed), ...wanted]) {
      const other = seen.get(nameOf(entry))
      if (other !== undefined) {
        const { port, address } = entry.endpoint
        throw new MeshError(
          'MESH_BAD_SERVICE',
          `Services "${other.serviceName}" and "${entry.serviceName}" both publish port ${port}/${entry.protocol} on ${address}; change one of them`,
        )
      }
      seen.set(nameOf(entry), entry)
    }
  }

  #others(changed: ReadonlySet<string>): Wanted[] {
    return this.list().flatMap(({ wanted }) => (changed.has(wanted.serviceKey) ? [] : [wanted]))
  }
}

function nameOf({ protocol, endpoint }: Wanted): string {
  return `${protocol} ${describeEndpoint(endpoint)}`
}

/** Sockets of one protocol, family and port, by that. */
type Crowds = ReadonlyMap<string, readonly Wanted[]>

function placeOf({ protocol, endpoint: { family, port } }: Wanted): string {
  return `${protocol} ${family} ${port}`
}

function groupByPlace(wanted: readonly Wanted[]): Crowds {
  const crowds = new Map<string, Wanted[]>()
  for (const entry of wanted) {
    const crowd = crowds.get(placeOf(entry))
    if (crowd === undefined) crowds.set(placeOf(entry), [entry])
    else crowd.push(entry)
  }
  return crowds
}

/** Ours on other addresses, of which one of both is all of them. */
function neighboursOf(wanted: Wanted, crowds: Crowds): Wanted[] {
  const crowd = crowds.get(placeOf(wanted)) ?? []
  return crowd.filter(other => nameOf(other) !== nameOf(wanted) && doOverlap(other, wanted))
}

/** Refused by the kernel, its clients would get to whoever has the port of all addresses. */
function isShadowed(wanted: Wanted, crowds: Crowds): boolean {
  return !isWildcard(wanted) && neighboursOf(wanted, crowds).length > 0
}

function isWildcard({ endpoint: { address } }: Wanted): boolean {
  return address === '0.0.0.0' || address === '::'
}

function doOverlap(a: Wanted, b: Wanted): boolean {
  const isSameAddress = a.endpoint.address === b.endpoint.address
  return placeOf(a) === placeOf(b) && (isSameAddress || isWildcard(a) || isWildcard(b))
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
