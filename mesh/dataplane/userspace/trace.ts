/** Says in words where a new connection of a service goes: what its sockets do, whom it may meet. */

import { describeEndpoint } from './socket.js'
import type { VirtualService } from '../../state.js'
import type { Hop } from '../dataplane.js'
import type { Listener } from './listener-set.js'
import type { ServiceRoute } from './route.js'

/** The sockets as the kernel has them now, then the choice, then every destination. */
export function traceService(
  service: VirtualService,
  routes: { readonly 4: ServiceRoute; readonly 6: ServiceRoute },
  listeners: readonly Listener[],
): readonly Hop[] {
  const { scheduler, affinity, destinations } = service
  const sticky =
    affinity.kind === 'client-ip' ? `, a client stays ${affinity.timeoutSeconds} s` : ''
  return [
    ...listeners.map(describeListener),
    {
      where: `process ${process.pid}`,
      what: `chooses by ${scheduler} of ${destinations.length} destinations${sticky}`,
    },
    ...[routes[4], routes[6]].flatMap(route => route.describe()),
  ]
}

function describeListener({ proxy, wanted: { endpoint, protocol } }: Listener): Hop {
  const where = `socket ${describeEndpoint(endpoint)}/${protocol}`
  if (!proxy.isAsTold) return { where, what: 'is not what was opened; reconcile mends it' }
  if (proxy.isTaking) return { where, what: `takes what comes over IPv${endpoint.family}` }
  const refusal = protocol === 'tcp' ? 'RST' : 'port unreachable'
  return {
    where,
    what: `refuses with ${refusal}: no destination has an IPv${endpoint.family} address`,
  }
}
