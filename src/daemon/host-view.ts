/** What the host has already: routes, addresses and nameservers that no network may be put over. */

import { isIP } from 'node:net'
import { parsePrefix } from '../base/ip.js'
import type { Taken } from '../ipam/index.js'
import { readHostRoutes } from '../kernel/host.js'
import type { HostResolver } from './host-resolver.js'
import type { HostView } from './networks.js'

/** Links of ours are left out: the catalog knows its networks better. */
export function openHostView(
  hostResolver: HostResolver,
  isOurs: (alias: string) => boolean,
): HostView {
  return {
    taken() {
      const { routes, addresses } = readHostRoutes(isOurs)
      return [
        ...routes.map(({ destination, isOnLink, via }): Taken => ({
          kind: 'route',
          prefix: parsePrefix(destination),
          isOnLink,
          via,
        })),
        ...addresses.map(({ cidr, device }): Taken => ({
          kind: 'address',
          prefix: parsePrefix(cidr),
          device,
        })),
        ...hostResolver.current.conf.nameservers.flatMap((address): Taken[] => {
          const family = isIP(address)
          if (family === 0 || address.includes('%')) return []
          const prefix = parsePrefix(`${address}/${family === 4 ? 32 : 128}`)
          return [{ kind: 'nameserver', prefix }]
        }),
      ]
    },
  }
}
