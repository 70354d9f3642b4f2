/**
 * One upstream: its carriers, its health, and what it has taught us about itself (whether it keeps
 * the letters' case, whether it takes EDNS). Sends what it is told; whom to ask is the exchange's.
 */

import { isIPv6 } from 'node:net'
import { silentLogger } from '../../src/base/log.js'
import { Health } from './health.js'
import { HttpsCarrier } from './https-carrier.js'
import { DNS_PORT, hostSpace } from './policy.js'
import { TcpCarrier } from './tcp-carrier.js'
import { UdpCarrier } from './udp-carrier.js'
import { composeProbe } from './upstream-query.js'
import type { Logger } from '../../src/base/log.js'
import type { Attempt, Carrier, Transport } from './attempt.js'
import type { SocketSpace, UpstreamAddress } from './policy.js'
import type { RandomSource } from './random.js'

/** Folded replies, none exact in between and TCP out of reach, that end the mixing of case. */
const MAX_CASE_MISSES = 3
/** How long a server that choked on EDNS is asked without. */
const NO_EDNS_MS = 300_000

/** How one upstream does, for people and metrics. */
export interface UpstreamStatus {
  readonly address: string
  readonly port: number
  readonly via: 'host' | 'sandbox'
  readonly url: string | undefined
  readonly isUp: boolean
  /** Smoothed; undefined until the first reply. */
  readonly roundTripMs: number | undefined
  readonly sent: number
  readonly received: number
  /** Tries that nothing came back for, or that the network refused. */
  readonly failures: number
  /** Packets whose id or question were not those of a query in flight. */
  readonly forged: number
  readonly mixesCase: boolean
}

export interface UpstreamOptions {
  readonly address: UpstreamAddress
  readonly space: SocketSpace | undefined
  readonly random: RandomSource
  readonly now: () => number
  readonly logger?: Logger
}

export class Upstream {
  readonly address: UpstreamAddress
  readonly health = new Health()
  /** When a client's question last needed it. */
  askedAt = -Infinity
  #keepsCase = true
  #caseMisses = 0
  #noEdnsUntil = -Infinity
  #sent = 0
  #received = 0
  #failures = 0
  #forged = 0
  #isClosed = false
  #probe: Probe | undefined
  readonly #port: number
  readonly #now: () => number
  readonly #logger: Logger
  readonly #datagrams: Carrier
  readonly #streams: Carrier

  constructor(options: UpstreamOptions) {
    const { address: upstream, random, now } = options
    this.address = upstream
    this.#now = now
    this.#logger = options.logger ?? silentLogger
    this.#port = upstream.port ?? defaultPort(upstream.url)
    const space = upstream.via === 'host' ? hostSpace : (options.space ?? unreachableSpace)
    const family = isIPv6(upstream.address) ? 6 : 4
    const place = { address: upstream.address, port: this.#port, family, space, now } as const
    if (upstream.url === undefined) {
      this.#datagrams = new UdpCarrier({ ...place, random, onForged: () => this.#forged++ })
      this.#streams = new TcpCarrier({ ...place, random })
    } else {
      this.#datagrams = this.#streams = new HttpsCarrier({ ...place, url: upstream.url })
    }
  }

  /** How a question travels first. */
  get transport(): Transport {
    return this.address.url === undefined ? 'udp' : 'https'
  }

  get mixesCase(): boolean {
    return this.#keepsCase && this.transport === 'udp'
  }

  get takesEdns(): boolean {
    return this.#now() >= this.#noEdnsUntil
  }

  send(attempt: Attempt, transport: Transport): void {
    if (this.#isClosed) return attempt.onError('closed')
    this.#sent++
    const carrier = transport === 'tcp' ? this.#streams : this.#datagrams
    carrier.send(attempt)
  }

  /** A reply came to what was sent at `sentAt`. */
  noteReply(sentAt: number): void {
    this.#received++
    if (this.health.noteReply(sentAt, this.#now())) {
      this.#logger.warn(this.#fields(), 'An upstream answers again')
    }
  }

  /** Nothing came for what was sent at `sentAt`, or the network refused it. */
  noteFailure(sentAt: number, reason: string): void {
    this.#failures++
    if (this.health.noteFailure(sentAt, this.#now())) {
      this.#logger.warn({ ...this.#fields(), reason }, 'An upstream is down; others go first')
    }
  }

  /** A UDP reply had the case we sent. */
  noteCaseKept(): void {
    this.#caseMisses = 0
  }

  /** A reply had another case: over TCP that is the server's own doing, over UDP perhaps not. */
  noteCaseFolded(isCertain: boolean): void {
    this.#caseMisses++
    if (isCertain || this.#caseMisses >= MAX_CASE_MISSES) this.#keepsCase = false
  }

  /** It answered without EDNS what it could not read with. */
  noteEdnsRefused(): void {
    this.#noEdnsUntil = this.#now() + NO_EDNS_MS
  }

  /** Probes where due and closes idle sockets. Returns true while there is more to come. */
  sweep(now: number): boolean {
    if (this.health.takeProbe(now, this.askedAt)) this.#sendProbe(now)
    const hasSockets = [this.#datagrams.sweep(now), this.#streams.sweep(now)].includes(true)
    return hasSockets || this.health.wantsProbes(now, this.askedAt)
  }

  status(): UpstreamStatus {
    return {
      address: this.address.address,
      port: this.#port,
      via: this.address.via,
      url: this.address.url,
      isUp: this.health.isUp,
      roundTripMs: this.health.roundTripMs,
      sent: this.#sent,
      received: this.#received,
      failures: this.#failures,
      forged: this.#forged,
      mixesCase: this.mixesCase,
    }
  }

  close(): void {
    this.#isClosed = true
    this.#datagrams.close()
    this.#streams.close()
  }

  #sendProbe(now: number): void {
    const old = this.#probe
    if (old?.carrier !== undefined) {
      old.carrier.release(old)
      this.noteFailure(old.sentAt, 'a probe was not answered')
    }
    this.#probe = new Probe(this, now)
    this.send(this.#probe, this.transport)
  }

  #fields(): object {
    return { upstream: this.address.address, port: this.#port, via: this.address.via }
  }
}

/** Any reply will do. */
class Probe implements Attempt {
  readonly packet = composeProbe()
  readonly questionEnd = this.packet.length
  carrier: Carrier | undefined
  readonly sentAt: number
  readonly #upstream: Upstream

  constructor(upstream: Upstream, now: number) {
    this.#upstream = upstream
    this.sentAt = now
  }

  onReply(): void {
    this.carrier?.release(this)
    this.carrier = undefined
    this.#upstream.noteReply(this.sentAt)
  }

  onError(reason: string): void {
    this.carrier = undefined
    this.#upstream.noteFailure(this.sentAt, reason)
  }
}

function defaultPort(url: string | undefined): number {
  if (url === undefined) return DNS_PORT
  const { port, protocol } = new URL(url)
  if (port !== '') return Number(port)
  return protocol === 'https:' ? 443 : 80
}

/** Where a policy names a sandbox and brings none: asking fails at once, and never leaves by us. */
const unreachableSpace: SocketSpace = {
  udp: () => {
    throw new Error('the policy has no sandbox to ask from')
  },
  tcp: () => {
    throw new Error('the policy has no sandbox to ask from')
  },
}
