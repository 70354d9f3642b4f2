/**
 * A UDP port: a flow for each client that stays with one destination, for as long as both are there
 * and talk. Without anywhere to go, the kernel answers datagrams with port unreachable.
 */

import { keepWay, readWay, receiveFrom } from './datagram.js'
import { composeProxyHeader } from './proxy-protocol.js'
import { EPOLLIN } from './reactor.js'
import { isBoundAs, refuseDatagrams, setPacketInfo, sharePort } from './socket.js'
import { UdpFlow } from './udp-flow.js'
import type { Clock, Timer } from '../../../src/base/clock.js'
import type { ReplyWay } from './datagram.js'
import type { Reactor } from './reactor.js'
import type { Route, Target } from './route.js'
import type { Endpoint, SocketDoor } from './socket.js'

/** Idle flows are forgotten after: net/netfilter/nf_conntrack_proto_udp.c has 30 s and, once replied to for a while, 120 s; 180 s before Linux 4.20. */
export const UNREPLIED_MS = 30_000
export const REPLIED_MS = 180_000

/** How exact those are. */
const SWEEP_MS = 2_000

/** Flows of one port: each holds a descriptor. Default; who was not answered gives its place first. */
export const MAX_FLOWS = 4096

/** Datagrams that are passed on before others get their turn. */
const DATAGRAMS_A_TURN = 64

export interface UdpContext {
  readonly reactor: Reactor
  readonly clock: Clock
  readonly sockets: SocketDoor
  /** Default MAX_FLOWS. */
  readonly maxFlows?: number | undefined
}

export class UdpProxy {
  readonly endpoint: Endpoint
  readonly #context: UdpContext
  #route: Route
  readonly #flows = new Map<string, UdpFlow>()
  /** Oldest first. */
  readonly #unreplied = new Set<UdpFlow>()
  #fd: number
  #isShared: boolean
  #isTaking = false
  #isEnding = false
  #sweep: Timer | undefined

  /** Binds; takes nothing yet. Throws KernelError `EADDRINUSE`, `EACCES`, ... */
  constructor(context: UdpContext, endpoint: Endpoint, route: Route, isShared = false) {
    this.endpoint = endpoint
    this.#context = context
    this.#route = route
    this.#isShared = isShared
    this.#fd = context.sockets.bind('udp', endpoint, isShared)
    refuseDatagrams(context.reactor.block, this.#fd, endpoint)
  }

  /** True: datagrams are taken. False: the kernel answers them with port unreachable. */
  setTaking(isTaking: boolean): void {
    if (isTaking === this.#isTaking || this.#fd < 0) return
    const { reactor } = this.#context
    if (isTaking) {
      this.#bindAnew()
      reactor.watch(this.#fd, EPOLLIN, { onEvents: () => this.#receiveAll() })
    } else {
      reactor.forget(this.#fd)
      refuseDatagrams(reactor.block, this.#fd, this.endpoint)
    }
    this.#isTaking = isTaking
  }

  /** For flows from now on; those whose destination is not in `route` end, and choose anew with the next datagram. */
  setRoute(route: Route): void {
    this.#route = route
    for (const flow of this.#flows.values()) if (!route.isListed(flow.target)) this.#drop(flow)
  }

  /** What the kernel has: false where somebody closed the socket. */
  get isAsTold(): boolean {
    return isBoundAs(this.#context.reactor.block, this.#fd, this.endpoint.port, undefined)
  }

  /** From now on the port may be ours on another address too. */
  share(): void {
    this.#isShared = true
    if (this.#fd >= 0) sharePort(this.#context.reactor.block, this.#fd, true)
  }

  get isTaking(): boolean {
    return this.#isTaking
  }

  /** New clients are refused; the port is given back with the last flow, as answers go out of it. */
  close(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    if (this.#flows.size === 0) this.#release()
  }

  /** Ends every flow. */
  reset(): void {
    for (const flow of this.#flows.values()) this.#drop(flow)
  }

  /** A socket that takes datagrams in place of the one that refuses them; the port is ours meanwhile. */
  #bindAnew(): void {
    const { reactor, sockets } = this.#context
    const old = this.#fd
    sharePort(reactor.block, old, true)
    this.#fd = sockets.bind('udp', this.endpoint, true)
    reactor.close(old)
    sharePort(reactor.block, this.#fd, this.#isShared)
    setPacketInfo(reactor.block, this.#fd, this.endpoint.family)
  }

  #receiveAll(): void {
    const { reactor } = this.#context
    for (let i = 0; i < DATAGRAMS_A_TURN && this.#fd >= 0; i++) {
      const length = receiveFrom(reactor.block, this.#fd)
      if (length < 0) return
      const key = readWay(reactor.block, this.endpoint.family)
      const flow =
        this.#flows.get(key) ?? this.#open(keepWay(reactor.block, this.endpoint.family, key))
      flow?.send(length)
    }
  }

  #open(way: ReplyWay): UdpFlow | undefined {
    if (this.#isEnding || !this.#makeRoom()) return undefined
    const target = this.#route.choose(way.client, [])
    if (target === undefined) return undefined
    let flow
    try {
      flow = this.#createFlow(way, target)
    } catch {
      // Out of descriptors: the datagram is lost, as on a full queue.
      return undefined
    }
    this.#flows.set(way.key, flow)
    this.#unreplied.add(flow)
    this.#sweep ??= this.#context.clock.after(SWEEP_MS, this.#dropIdle)
    return flow
  }

  #createFlow(way: ReplyWay, target: Target): UdpFlow {
    const { reactor, clock, sockets } = this.#context
    const { family, port } = this.endpoint
    const header = target.hasProxyHeader
      ? composeProxyHeader('udp', way.client, { family, key: way.local, port })
      : undefined
    return new UdpFlow({
      ...{ reactor, target, port, way, header },
      listenerFd: () => this.#fd,
      fd: sockets.create('udp', target.address.length === 4 ? 4 : 6),
      now: () => clock.now(),
      onReply: replied => {
        this.#unreplied.delete(replied)
        this.#route.succeeded(replied.target)
      },
      onRefused: refused => {
        this.#route.failed(refused.target)
        this.#drop(refused)
      },
    })
  }

  /** As conntrack's early drop: answered flows stay. */
  #makeRoom(): boolean {
    if (this.#flows.size < (this.#context.maxFlows ?? MAX_FLOWS)) return true
    const [oldest] = this.#unreplied
    if (oldest !== undefined) this.#drop(oldest)
    return oldest !== undefined
  }

  readonly #dropIdle = (): void => {
    this.#sweep = undefined
    const now = this.#context.clock.now()
    for (const flow of this.#flows.values()) {
      if (now - flow.lastSeen >= (flow.isReplied ? REPLIED_MS : UNREPLIED_MS)) this.#drop(flow)
    }
    if (this.#flows.size > 0) this.#sweep ??= this.#context.clock.after(SWEEP_MS, this.#dropIdle)
  }

  #drop(flow: UdpFlow): void {
    this.#flows.delete(flow.key)
    this.#unreplied.delete(flow)
    flow.close()
    if (this.#flows.size > 0) return
    this.#sweep?.cancel()
    this.#sweep = undefined
    if (this.#isEnding) this.#release()
  }

  #release(): void {
    if (this.#fd < 0) return
    this.#context.reactor.close(this.#fd)
    this.#fd = -1
  }
}
