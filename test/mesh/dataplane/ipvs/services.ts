/** Virtual services for tests of what IPVS makes of them. */

import type { Destination, VirtualService } from '../../../../mesh/state.js'

/** `10.99.0.N` and `fd00:99::N`. */
export function destination(n: number, changes: Partial<Destination> = {}): Destination {
  return {
    ...{ id: `task${n}`, ipv4: `10.99.0.${n}`, ipv6: `fd00:99::${n}` },
    ...{ weight: 1, ownAddresses: [] },
    ...changes,
  }
}

export function service(changes: Partial<VirtualService> = {}): VirtualService {
  return {
    ...{ key: 'web', name: 'shop/web', mark: 7 },
    ports: [{ protocol: 'tcp', first: 8080, last: 8080 }],
    scheduler: 'rr',
    affinity: { kind: 'none' },
    destinations: [],
    ...changes,
  }
}
