/**
 * Keeps the readiness of replicas in the catalog: a probe each for those that have one. Without a probe
 * of its own, a replica with declared TCP ports is ready once its program listens on one of them.
 *
 * Probes ask from inside the replica's own sandbox, so that no rule of a host is in their way.
 */

import { Socket } from 'node:net'
import {
  createProbe,
  parseProbe,
  ProbeLimit,
  ReadinessMonitor,
  type Probe,
  type ProbeSpec,
} from '../../mesh/health/index.js'
import type { Clock } from '../base/clock.js'
import type {
  Container,
  ProcessIdentity,
  Readiness as ReadinessRecord,
} from '../catalog/container.js'
import type { ProbeSpec as DeclaredProbe } from '../catalog/service.js'
import { listListeners } from '../kernel/sock-diag.js'
import { unboundTcp } from '../kernel/socket.js'
import { balanceOf, findService } from '../plan/serving.js'
import { execInContainer } from '../runtime/index.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'

/** `listen`: somebody listens on a TCP port of the replica; costs its program nothing. */
type ReplicaProbe = ProbeSpec | { readonly kind: 'listen'; readonly ports: readonly number[] }

export interface ReadinessOptions {
  readonly state: State
  readonly sandboxes: Sandboxes
  readonly clock: Clock
}

export interface ReadinessWatch {
  close(): void
}

/** Throws HealthError for a probe that cannot be. */
export function checkProbe({ target, ...timing }: DeclaredProbe): void {
  if (target === 'listen') return
  const spec = parseProbe(target)
  if (spec === undefined) return
  const run = () => Promise.resolve({ code: 0, output: '' })
  createProbe({ ...spec, ...timing }, { address: '127.0.0.1', run })
}

export class ReadinessKeeper {
  readonly #options: ReadinessOptions
  readonly #limit = new ProbeLimit()

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  /** What a replica that starts now begins with; undefined where it has no probe. */
  initial(container: Container): ReadinessRecord | undefined {
    if (this.#probeOf(container) === undefined) return undefined
    return { isReady: false, reason: 'not probed yet', since: new Date().toISOString() }
  }

  /** Probes a running replica until closed; `known` as an earlier daemon left it. */
  open(
    container: Container,
    identity: ProcessIdentity,
    environment: Readonly<Record<string, string>>,
    known: ReadinessRecord | undefined,
  ): ReadinessWatch | undefined {
    const spec = this.#probeOf(container)
    if (spec === undefined) return undefined
    const { clock, state } = this.#options
    const timing = balanceOf(this.#serviceOf(container)).probe ?? {}
    return new ReadinessMonitor({
      probe: this.#limit.limit(this.#createProbe(spec, container, identity, environment)),
      timing: { ...(spec.kind === 'listen' ? {} : spec), ...withoutTarget(timing) },
      clock,
      ...(known !== undefined && { known }),
      onChange: ({ isReady, reason }) => {
        const status = state.snapshot.statuses.get(container.id)
        if (status?.state !== 'running') return
        const since = new Date().toISOString()
        state.observe({ ...status, readiness: { isReady, reason, since } })
      },
    })
  }

  #serviceOf({ project, service }: Container) {
    return findService(this.#options.state.snapshot, project ?? '', service ?? '')
  }

  #probeOf(container: Container): ReplicaProbe | undefined {
    const declared = balanceOf(this.#serviceOf(container)).probe?.target
    if (declared !== undefined && declared !== 'listen') return parseProbe(declared)
    const ports = container.ports.filter(({ protocol }) => protocol === 'tcp')
    if (ports.length === 0 || container.endpoints.length === 0) return undefined
    return { kind: 'listen', ports: ports.map(({ target }) => target) }
  }

  #createProbe(
    spec: ReplicaProbe,
    container: Container,
    identity: ProcessIdentity,
    env: Readonly<Record<string, string>>,
  ): Probe {
    const { sandboxes } = this.#options
    if (spec.kind === 'listen') {
      return () =>
        Promise.resolve(judgeListeners(spec.ports, sandboxes.runIn(container, listListeners)))
    }
    return createProbe(spec, {
      address: addressOf(container),
      createSocket: family =>
        new Socket({ fd: sandboxes.runIn(container, () => unboundTcp(family)) }),
      run: (argv, timeoutMs) => execInContainer(identity, argv, { env, timeoutMs }),
    })
  }
}

function judgeListeners(
  ports: readonly number[],
  listeners: ReturnType<typeof listListeners>,
): ReturnType<Probe> extends Promise<infer Result> ? Result : never {
  const isServed = listeners.some(
    ({ protocol, port, address }) =>
      protocol === 'tcp' && ports.includes(port) && !isLoopback(address),
  )
  if (isServed) return { kind: 'success' }
  return { kind: 'failure', reason: `nothing listens on port ${ports.slice(0, 3).join(', ')}` }
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

function addressOf({ endpoints }: Container): string {
  const [first] = endpoints.flatMap(({ ipv4, ipv6 }) => ipv4 ?? ipv6 ?? [])
  return first?.split('/')[0] ?? '127.0.0.1'
}

function withoutTarget({ target: _target, ...timing }: Partial<DeclaredProbe>) {
  return timing
}
