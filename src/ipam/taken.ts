/** Prefixes that something has already, and whether a subnet would get in its way. */

import { formatPrefix, prefixesOverlap } from '../base/ip.js'
import type { Prefix } from '../base/ip.js'

/** Who has a prefix. */
export type Taken =
  | { readonly kind: 'network'; readonly prefix: Prefix; readonly name: string }
  /** A route of the host, links of ours excepted. `device` or gateway in `via`, for the message. */
  | {
      readonly kind: 'route'
      readonly prefix: Prefix
      /** No gateway: the hosts of the prefix are neighbours on a link. */
      readonly isOnLink: boolean
      readonly via: string
    }
  /** An address of the host itself. */
  | { readonly kind: 'address'; readonly prefix: Prefix; readonly device: string }
  /** A nameserver of the host: must stay reachable from containers. */
  | { readonly kind: 'nameserver'; readonly prefix: Prefix }

/**
 * The first of `taken` that `prefix` must not be chosen over, or undefined. A default route leads
 * everywhere and has nothing.
 */
export function findTaken(prefix: Prefix, taken: readonly Taken[]): Taken | undefined {
  return taken.find(one => !isDefaultRoute(one) && prefixesOverlap(one.prefix, prefix))
}

/**
 * As `findTaken`, for a subnet that the user declared. A wider route through a gateway is no
 * conflict then (a VPN's 10.0.0.0/8): the more specific route wins, and the user asked for it.
 */
export function findConflict(prefix: Prefix, taken: readonly Taken[]): Taken | undefined {
  return findTaken(
    prefix,
    taken.filter(
      one =>
        one.kind !== 'nameserver' &&
        !(one.kind === 'route' && !one.isOnLink && one.prefix.length < prefix.length),
    ),
  )
}

/** `network "shop_default" (172.18.0.0/16)`. */
export function describeTaken(taken: Taken): string {
  const text = formatPrefix(taken.prefix)
  switch (taken.kind) {
    case 'network':
      return `network "${taken.name}" (${text})`
    case 'route':
      return `the host's route ${text} ${taken.isOnLink ? 'on' : 'via'} ${taken.via}`
    case 'address':
      return `the host's address ${text} on ${taken.device}`
    case 'nameserver':
      return `the host's nameserver ${text}`
  }
}

function isDefaultRoute(taken: Taken): boolean {
  return taken.kind === 'route' && taken.prefix.length === 0
}
