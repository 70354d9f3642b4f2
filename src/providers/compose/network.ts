/** The networks of a file: their names, subnets and what their attachments are checked against. */

import {
  formatAddress,
  formatPrefix,
  prefixContains,
  prefixesOverlap,
  type Address,
  type Prefix,
} from '../../base/ip.js'
import type { NetworkDriver, NetworkSpec, Subnet } from '../../catalog/network.js'
import { checkAddress, checkPrefix, hostAddressProblem } from './address.js'
import { BUILTIN_NETWORKS, entityNameProblem, shorten } from './name.js'
import type { Place } from './report.js'
import type { DeclaredNetwork, DeclaredSubnet } from './schema.js'

/** A network as the file declares it, ready to be attached to. */
export interface ResolvedNetwork {
  readonly key: string
  readonly spec: NetworkSpec
  readonly isExternal: boolean
  readonly subnets: readonly ResolvedSubnet[]
}

/** A subnet as numbers, and the addresses in it that no container may take, each with its use. */
export interface ResolvedSubnet {
  readonly prefix: Prefix
  readonly spec: Subnet
  readonly taken: ReadonlyMap<bigint, string>
}

const DRIVERS: readonly NetworkDriver[] = ['bridge', 'host', 'none']

/** Every network the file declares, and `default` where it does not declare it. Reports at `place`. */
export function resolveNetworks(
  project: string,
  declared: Readonly<Record<string, DeclaredNetwork>>,
  place: Place,
): ReadonlyMap<string, ResolvedNetwork> {
  const all = { default: {}, ...declared }
  const networks = new Map<string, ResolvedNetwork>()
  for (const [key, network] of Object.entries(all)) {
    networks.set(key, resolveNetwork(project, key, network, place.at(key)))
  }
  reportSharedNames(networks, place)
  reportOverlaps(networks, place)
  return networks
}

function resolveNetwork(
  project: string,
  key: string,
  network: DeclaredNetwork,
  place: Place,
): ResolvedNetwork {
  const isExternal = network.external === true
  const name = network.name ?? (isExternal ? key : `${project}_${key}`)
  const problem = entityNameProblem(name)
  if (problem !== undefined)
    (network.name === undefined ? place : place.at('name')).problem(problem)
  const driver = resolveDriver(network, name, place)
  if (isExternal) reportExternalSettings(network, place)
  const isOurs = !isExternal && driver === 'bridge'
  if (isOurs && BUILTIN_NETWORKS.includes(name)) {
    place.at('name').problem(`"${name}" is a network that is always there; use external: true`)
  }
  if (network.ipam?.driver !== undefined && network.ipam.driver !== 'default') {
    const given = shorten(network.ipam.driver)
    place.at('ipam', 'driver').problem(`"${given}" is not supported; the only driver is "default"`)
  }
  const config = network.ipam?.config ?? []
  const subnets = config.flatMap((subnet, i) => {
    const resolved = resolveSubnet(subnet, place.at('ipam', 'config', i))
    return resolved === undefined ? [] : [resolved]
  })
  const families = resolveFamilies(network, subnets, place)
  return {
    key,
    isExternal,
    subnets,
    spec: {
      name,
      driver,
      options: network.driver_opts ?? {},
      subnets: subnets.map(subnet => subnet.spec),
      ...families,
      isInternal: network.internal ?? false,
      isAttachable: network.attachable ?? false,
      labels: labelsOf(network.labels),
    },
  }
}

/** Labels without a value are empty. */
export function labelsOf(
  labels: Readonly<Record<string, string | null>> | undefined,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labels ?? {}).map(([key, value]) => [key, value ?? '']))
}

function resolveDriver(network: DeclaredNetwork, name: string, place: Place): NetworkDriver {
  if (network.external === true) return DRIVERS.find(driver => driver === name) ?? 'bridge'
  const given = network.driver ?? 'bridge'
  const driver = DRIVERS.find(known => known === (given === 'default' ? 'bridge' : given))
  if (driver === undefined) {
    const known = 'bridge, host and none'
    place.at('driver').problem(`"${shorten(given)}" is not supported; the drivers are ${known}`)
  }
  return driver ?? 'bridge'
}

function reportExternalSettings(network: DeclaredNetwork, place: Place): void {
  for (const key of Object.keys(network)) {
    if (key === 'external' || key === 'name') continue
    place.at(key).problem('says how to make the network, but external: true says that it exists')
  }
}

function resolveFamilies(
  network: DeclaredNetwork,
  subnets: readonly ResolvedSubnet[],
  place: Place,
): { hasIpv4: boolean; hasIpv6: boolean } {
  const has = (family: number) => subnets.some(subnet => subnet.prefix.family === family)
  if (network.enable_ipv4 === false && has(4)) {
    place.at('enable_ipv4').problem('is false, but the network declares an IPv4 subnet')
  }
  if (network.enable_ipv6 === false && has(6)) {
    place.at('enable_ipv6').problem('is false, but the network declares an IPv6 subnet')
  }
  const hasIpv4 = network.enable_ipv4 ?? true
  const hasIpv6 = network.enable_ipv6 ?? has(6)
  if (!hasIpv4 && !hasIpv6) {
    place.at('enable_ipv4').problem('is false, and so is enable_ipv6: no family is left')
  }
  return { hasIpv4, hasIpv6 }
}

function resolveSubnet(subnet: DeclaredSubnet, place: Place): ResolvedSubnet | undefined {
  if (subnet.subnet === undefined) {
    place.missing('needs a subnet, such as 10.0.1.0/24')
    return undefined
  }
  const checked = checkPrefix(subnet.subnet)
  if (checked.kind === 'problem') {
    place.at('subnet').problem(checked.message)
    return undefined
  }
  const prefix = checked.value
  const gateway = addressIn(prefix, subnet.gateway, place.at('gateway'))
  const ipRange = rangeIn(prefix, subnet.ip_range, place.at('ip_range'))
  const taken = new Map<bigint, string>()
  if (gateway !== undefined) taken.set(gateway.value, 'the gateway')
  const auxAddresses: Record<string, string> = {}
  for (const [name, text] of Object.entries(subnet.aux_addresses ?? {})) {
    const address = addressIn(prefix, text, place.at('aux_addresses', name))
    if (address === undefined) continue
    const use = taken.get(address.value)
    if (use !== undefined) {
      place.at('aux_addresses', name).problem(`"${text}" is already ${use}`)
    }
    taken.set(address.value, `the auxiliary address "${name}"`)
    auxAddresses[name] = formatAddress(address)
  }
  const spec: Subnet = {
    subnet: formatPrefix(prefix),
    ...(gateway === undefined ? {} : { gateway: formatAddress(gateway) }),
    ...(ipRange === undefined ? {} : { ipRange }),
    auxAddresses,
  }
  return { prefix, spec, taken }
}

function addressIn(prefix: Prefix, text: string | undefined, place: Place): Address | undefined {
  if (text === undefined) return undefined
  const checked = checkAddress(text, prefix.family)
  if (checked.kind === 'problem') {
    place.problem(checked.message)
    return undefined
  }
  if (!prefixContains(prefix, checked.value)) {
    place.problem(`"${text}" is outside the subnet ${formatPrefix(prefix)}`)
    return undefined
  }
  const problem = hostAddressProblem(checked.value, prefix)
  if (problem !== undefined) place.problem(problem)
  return checked.value
}

function rangeIn(prefix: Prefix, text: string | undefined, place: Place): string | undefined {
  if (text === undefined) return undefined
  const checked = checkPrefix(text)
  if (checked.kind === 'problem') {
    place.problem(checked.message)
    return undefined
  }
  const range = checked.value
  if (range.length < prefix.length || !prefixesOverlap(prefix, range)) {
    place.problem(`"${text}" is outside the subnet ${formatPrefix(prefix)}`)
  }
  return formatPrefix(range)
}

function reportSharedNames(networks: ReadonlyMap<string, ResolvedNetwork>, place: Place): void {
  const keys = new Map<string, string>()
  for (const { key, spec } of networks.values()) {
    const first = keys.get(spec.name)
    const isSpecial = spec.driver !== 'bridge'
    if (first !== undefined && !isSpecial) {
      place.at(key, 'name').problem(`"${spec.name}" is already the name of network "${first}"`)
    }
    keys.set(spec.name, key)
  }
}

function reportOverlaps(networks: ReadonlyMap<string, ResolvedNetwork>, place: Place): void {
  const seen: { prefix: Prefix; key: string }[] = []
  for (const { key, spec, subnets } of networks.values()) {
    subnets.forEach(({ prefix }) => {
      const other = seen.find(known => prefixesOverlap(known.prefix, prefix))
      if (other !== undefined) {
        const i = spec.subnets.findIndex(subnet => subnet.subnet === formatPrefix(prefix))
        const whose = other.key === key ? 'the same network' : `network "${other.key}"`
        place
          .at(key, 'ipam', 'config', i, 'subnet')
          .problem(
            `"${formatPrefix(prefix)}" overlaps with ${formatPrefix(other.prefix)} of ${whose}`,
          )
      }
      seen.push({ prefix, key })
    })
  }
}
