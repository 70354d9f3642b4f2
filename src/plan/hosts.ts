/**
 * The /etc/hosts of a sandbox as text: localhost, what the user added, legacy links, and the
 * sandbox's own addresses. Decides nothing about who gets which name in DNS.
 */

/** Stands for the host's address in an added entry (`docker run --add-host x:host-gateway`). */
export const HOST_GATEWAY = 'host-gateway'

const LOCALHOST = ['127.0.0.1\tlocalhost'] as const

const LOCALHOST_V6 = [
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
] as const

/** One `name:address` that the user added; `host-gateway` is every address of `hostGateways`. */
export interface ExtraHost {
  readonly name: string
  readonly address: string
}

/** A container linked on a network without names (`--link name:alias`). */
export interface LegacyLink {
  readonly address: string
  readonly alias: string
  readonly hostname: string
  readonly name: string
}

export interface HostsInput {
  readonly hostname: string
  readonly domainname?: string
  /** The sandbox's own, in the order of its networks. */
  readonly addresses: readonly string[]
  readonly extraHosts?: readonly ExtraHost[]
  /** The host as the sandbox reaches it, IPv4 and IPv6; none leaves `host-gateway` entries out. */
  readonly hostGateways?: readonly string[]
  readonly links?: readonly LegacyLink[]
  readonly hasIpv6: boolean
}

/** The text of the file. Later lines with an address again are kept: hosts(5) merges them. */
export function planHosts(input: HostsInput): string {
  const { extraHosts = [], hostGateways = [], links = [], domainname } = input
  const extra = extraHosts.flatMap(({ name, address }) => {
    const addresses = address === HOST_GATEWAY ? hostGateways : [address]
    return addresses.map(each => line(each, [name]))
  })
  const isQualified = domainname !== undefined && domainname !== ''
  const own = isQualified ? [`${input.hostname}.${domainname}`, input.hostname] : [input.hostname]
  return [
    ...LOCALHOST,
    ...(input.hasIpv6 ? LOCALHOST_V6 : []),
    ...extra,
    ...links.map(link => line(link.address, [link.alias, link.hostname, link.name])),
    ...input.addresses.map(address => line(address, own)),
    '',
  ].join('\n')
}

function line(address: string, names: readonly string[]): string {
  return `${address}\t${[...new Set(names)].join(' ')}`
}
