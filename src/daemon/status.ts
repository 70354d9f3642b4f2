/** What `portolan status` tells. */

import type { DataplaneView, StatusReply } from '../api/contract.js'
import { version } from '../api/version.js'
import type { Resolver } from '../../resolver/index.js'
import { probeFeatures } from '../kernel/features.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'

export function describeStatus(options: {
  readonly state: State
  readonly sandboxes: Sandboxes
  readonly resolver: Resolver
  readonly startedAt: string
  readonly root: string
  readonly isBackground: boolean
  readonly problems: readonly string[]
  readonly dataplane: DataplaneView
}): StatusReply {
  const { state, sandboxes, resolver, startedAt, root, isBackground } = options
  const { networks, containers, statuses } = state.snapshot
  const { sandboxes: served, upstreams, listenerReason } = resolver.status()
  const down = upstreams.filter(({ isUp }) => !isUp)
  const problems = [
    ...options.problems,
    ...(listenerReason === undefined ? [] : [listenerReason]),
    ...down.map(({ address }) => `Upstream ${address} does not answer`),
  ]
  const sum = (pick: (queries: (typeof served)[number]['queries']) => number): number =>
    served.reduce((total, { queries }) => total + pick(queries), 0)
  return {
    version: version(),
    pid: process.pid,
    root,
    startedAt,
    isBackground,
    dataplane: options.dataplane,
    health: problems.length === 0 ? 'ok' : 'degraded',
    problems,
    kernel: probeFeatures().map(({ name, isAvailable, detail }) => ({ name, isAvailable, detail })),
    counts: {
      networks: networks.size,
      containers: containers.size,
      running: [...statuses.values()].filter(({ state: one }) => one === 'running').length,
      sandboxes: sandboxes.size,
    },
    resolver: {
      answered: sum(queries => queries.answered),
      forwarded: sum(queries => queries.forwarded),
      dropped: sum(queries => queries.dropped),
      upstreams: upstreams.map(upstream => ({
        address: upstream.port === 53 ? upstream.address : `${upstream.address}#${upstream.port}`,
        isHealthy: upstream.isUp,
        ...(upstream.roundTripMs !== undefined && { roundTripMs: upstream.roundTripMs }),
        answered: upstream.received,
        failed: upstream.failures,
      })),
    },
    memoryBytes: process.memoryUsage.rss(),
  }
}
