/** The text of a container's own /etc files, from the catalog and the host's. */

import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { ResolvConfFile } from '../../resolver/forward/resolv-conf.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import { givesNames } from '../plan/names.js'
import { planHosts, type HostsInput, type LegacyLink } from '../plan/hosts.js'
import { planLinks, planSandbox } from '../plan/sandbox.js'
import { planContainerResolvConf } from './host-resolver.js'

export interface SandboxFiles {
  readonly resolvConf: string
  readonly hosts: string
  readonly hostname: string
}

export function composeFiles(
  snapshot: Snapshot,
  container: Container,
  hostFile: ResolvConfFile,
): SandboxFiles {
  const isHost = container.spec.networkMode.kind === 'host'
  const own = container.spec.hostname ?? (isHost ? hostname() : container.id.slice(0, 12))
  const { attached, hasResolver } = planSandbox(snapshot, container)
  const hasIpv6 = isHost || attached.some(({ network }) => network.hasIpv6 && !network.isIngress)
  const hasOwnResolver = hasResolver && container.spec.networkMode.kind === 'networks'
  const mode = isHost ? 'host' : hasOwnResolver ? 'internal' : 'legacy'
  return {
    resolvConf: planContainerResolvConf(container, mode, hostFile, hasIpv6).text,
    hosts: isHost
      ? composeHostHosts(container)
      : planHosts(sandboxHosts(snapshot, container, own, hasIpv6)),
    hostname: `${own}\n`,
  }
}

function sandboxHosts(
  snapshot: Snapshot,
  container: Container,
  own: string,
  hasIpv6: boolean,
): HostsInput {
  const { attached, hostGateways } = planSandbox(snapshot, container)
  const { domainname } = container.spec
  return {
    hostname: own,
    ...(domainname !== undefined && { domainname }),
    addresses: attached
      .filter(({ network }) => !network.isIngress)
      .flatMap(({ endpoint }) => [endpoint.ipv4, endpoint.ipv6].flatMap(bare)),
    extraHosts: container.spec.extraHosts,
    hostGateways,
    links: legacyLinks(snapshot, container),
    hasIpv6,
  }
}

/** Links on networks without names, which only /etc/hosts can tell. */
function legacyLinks(snapshot: Snapshot, container: Container): LegacyLink[] {
  return planLinks(snapshot, container)
    .filter(({ network }) => !givesNames(network))
    .flatMap(({ alias, endpoint, container: target }) =>
      [endpoint.ipv4, endpoint.ipv6].flatMap(bare).map(address => ({
        address,
        alias,
        hostname: target.spec.hostname ?? target.id.slice(0, 12),
        name: target.name,
      })),
    )
}

/** `network_mode: host`: the host's file, and what the container adds. */
function composeHostHosts({ spec }: Container): string {
  const extra = spec.extraHosts.map(({ name, address }) => {
    return `${address === 'host-gateway' ? '127.0.0.1' : address}\t${name}\n`
  })
  return `${readHostHosts()}${extra.join('')}`
}

function readHostHosts(): string {
  try {
    const text = readFileSync('/etc/hosts', 'utf8')
    return text.endsWith('\n') || text === '' ? text : `${text}\n`
  } catch {
    // A host without the file resolves by DNS alone, and so do its containers.
    return ''
  }
}

function bare(cidr: string | undefined): string[] {
  const address = cidr?.split('/')[0]
  return address === undefined ? [] : [address]
}
