/** Where the host's packets go already: its routes and addresses, in plain words. */

import { listAddresses, listLinks, listRoutes } from './rtnetlink.js'

export interface HostRoutes {
  readonly routes: readonly {
    /** CIDR. */
    readonly destination: string
    readonly isOnLink: boolean
    /** The gateway, or the link's name. */
    readonly via: string
  }[]
  readonly addresses: readonly { readonly cidr: string; readonly device: string }[]
}

/** Routes and addresses of links whose ifalias `isOurs` does not claim; default routes left out. */
export function readHostRoutes(isOurs: (alias: string) => boolean): HostRoutes {
  const links = new Map(listLinks().map(link => [link.index, link]))
  const isForeign = (index: number | undefined): boolean =>
    !isOurs(links.get(index ?? 0)?.alias ?? '')
  const nameOf = (index: number | undefined): string => links.get(index ?? 0)?.name ?? 'a link'
  return {
    routes: listRoutes().flatMap(({ destination, gateway, index }) => {
      if (destination === undefined || !isForeign(index)) return []
      const via = gateway ?? nameOf(index)
      return [{ destination, isOnLink: gateway === undefined, via }]
    }),
    addresses: listAddresses()
      .filter(({ index }) => isForeign(index))
      .map(({ address, prefixLength, index }) => ({
        cidr: `${address}/${prefixLength}`,
        device: nameOf(index),
      })),
  }
}
