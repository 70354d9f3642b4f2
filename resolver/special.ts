/** Names with a fixed meaning: loopback (RFC 6761), the host, and domains that never resolve. */

import { type NameKey, isWithin, nameKey } from './name.js'
import { type Owner, addressOwner } from './owner.js'

export const LOCALHOST: NameKey = nameKey('localhost')

/** 127.0.0.1 and ::1. The lifetime is that of a fact. */
export const loopback: Owner = addressOwner(['\x7f\0\0\x01', '\0'.repeat(15) + '\x01'], 600)

/** Docker Desktop's and Podman's names for the machine the container runs on. */
const hostNames: ReadonlySet<NameKey> = new Set(
  ['host.docker.internal', 'gateway.docker.internal', 'host.containers.internal'].map(nameKey),
)

/** Domains denied here: RFC 6761 §6.4, RFC 7686 §2. */
const deniedDomains = [nameKey('invalid'), nameKey('onion')] as const

/** mDNS's domain (RFC 6762 §3); some sites serve it from unicast DNS all the same. */
const LOCAL_DOMAIN = nameKey('local')

export type Special =
  | { readonly kind: 'loopback' }
  | { readonly kind: 'host' }
  | { readonly kind: 'denied'; readonly domain: NameKey }

const loopbackName: Special = { kind: 'loopback' }
const hostName: Special = { kind: 'host' }

/** What `name` means by itself, or undefined. */
export function findSpecial(
  name: NameKey,
  localDomain: 'forward' | 'nxdomain',
): Special | undefined {
  if (hostNames.has(name)) return hostName
  if (isWithin(name, LOCALHOST)) return loopbackName
  for (const domain of deniedDomains) {
    if (isWithin(name, domain)) return { kind: 'denied', domain }
  }
  if (localDomain === 'nxdomain' && isWithin(name, LOCAL_DOMAIN)) {
    return { kind: 'denied', domain: LOCAL_DOMAIN }
  }
  return undefined
}
