/** The services of a file: replicas, names, and what only shows when services are seen together. */

import { parseAddress, formatAddress } from '../../base/ip.js'
import { defaultUpdate, type ServiceSpec, type UpdateSpec } from '../../catalog/service.js'
import { resolveStack } from './attachment.js'
import { resolveBalance } from './balance.js'
import { resolveContainer } from './container.js'
import { resolveDependencies, sortByDependency, type Neighbours } from './dependency.js'
import type { Surroundings } from './environment.js'
import { entityNameProblem, nameProblem } from './name.js'
import type { ResolvedNetwork } from './network.js'
import { resolvePorts } from './port.js'
import type { Place } from './report.js'
import type { DeclaredService } from './schema.js'

/** The services of a project in order of dependency, and the keys of the networks they use. */
export interface ResolvedServices {
  readonly services: readonly ServiceSpec[]
  readonly networks: ReadonlySet<string>
}

/** Resolves the services that `neighbours` says are enabled; `place` is `services`. */
export function resolveServices(
  project: string,
  neighbours: Neighbours,
  networks: ReadonlyMap<string, ResolvedNetwork>,
  around: Surroundings,
  place: Place,
): ResolvedServices {
  const used = new Set<string>()
  const services: ServiceSpec[] = []
  for (const [name, declared] of neighbours.enabled) {
    const at = place.at(name)
    const stack = resolveStack(declared, networks, at)
    for (const key of stack.networks) used.add(key)
    const replicas = resolveReplicas(declared, at)
    reportName(project, name, declared, replicas, at)
    if (stack.mode.kind === 'host' && declared.ports !== undefined) {
      at.at('ports').warn("has no effect: on the host's network, its ports are the host's")
    }
    const containerName = declared.container_name
    const container = resolveContainer(declared, stack, around, at)
    const balance = resolveBalance(container.labels, at.at('labels'))
    const update = resolveUpdate(declared)
    services.push({
      name,
      replicas,
      endpointMode: declared.deploy?.endpoint_mode ?? endpointModeOf(declared),
      ...(containerName === undefined ? {} : { containerName }),
      container,
      attachments: stack.attachments,
      dependsOn: resolveDependencies(name, declared, stack.mode, neighbours, at),
      ports: resolvePorts(declared.ports ?? [], declared.expose ?? [], at),
      ...(balance && { balance }),
      ...(update && { update }),
    })
    if (replicas > 1) reportSingular(declared, replicas, at)
  }
  reportSharedContainerNames(project, services, place)
  reportSharedAddresses(services, neighbours.enabled, networks, place)
  reportSharedPorts(services, place)
  const order = sortByDependency(services)
  if (order.kind === 'cycle') {
    const [first = '', second = ''] = order.names
    const declared = neighbours.enabled.get(first)
    const isDeclared = Object.hasOwn(declared?.depends_on ?? {}, second)
    const implied = declared?.network_mode === undefined ? 'links' : 'network_mode'
    place
      .at(first, ...(isDeclared ? ['depends_on', second] : [implied]))
      .problem(`services depend on each other: ${order.names.join(' -> ')}`)
  }
  return { services: order.kind === 'order' ? order.items : services, networks: used }
}

/** What can have one replica only, by its name or its address, has nothing to balance. */
function endpointModeOf({ container_name, networks = {} }: DeclaredService): 'vip' | 'dnsrr' {
  const hasAddress = Object.values(networks).some(
    ({ ipv4_address, ipv6_address }) => (ipv4_address ?? ipv6_address) !== undefined,
  )
  return container_name !== undefined || hasAddress ? 'dnsrr' : 'vip'
}

function resolveUpdate({ deploy }: DeclaredService): UpdateSpec | undefined {
  const declared = deploy?.update_config
  if (declared === undefined) return undefined
  return {
    order: declared.order ?? defaultUpdate.order,
    parallelism: declared.parallelism ?? defaultUpdate.parallelism,
    delayMs: declared.delay ?? defaultUpdate.delayMs,
  }
}

function resolveReplicas(service: DeclaredService, place: Place): number {
  const { scale } = service
  const replicas = service.deploy?.replicas
  if (scale !== undefined && replicas !== undefined && scale !== replicas) {
    place.at('scale').problem(`is ${scale}, but deploy.replicas is ${replicas}; give one of them`)
  }
  if (service.deploy?.mode === 'global' && replicas !== undefined) {
    place.at('deploy', 'replicas').problem('cannot be used together with mode global')
  }
  return scale ?? replicas ?? 1
}

function reportName(
  project: string,
  name: string,
  service: DeclaredService,
  replicas: number,
  place: Place,
): void {
  const own = nameProblem(name)
  if (own !== undefined) {
    place.problem(own)
    return
  }
  if (service.container_name !== undefined) {
    const problem = entityNameProblem(service.container_name)
    if (problem !== undefined) place.at('container_name').problem(problem)
    return
  }
  const problem = nameProblem(`${project}-${name}-${Math.max(1, replicas)}`)
  if (problem !== undefined) place.problem(`the name of its containers is too long: ${problem}`)
}

/** What only one container can have. */
function reportSingular(service: DeclaredService, replicas: number, place: Place): void {
  const problem = (at: Place, what: string) =>
    at.problem(`${replicas} replicas cannot share one ${what}`)
  if (service.container_name !== undefined) problem(place.at('container_name'), 'name')
  if (service.mac_address !== undefined) problem(place.at('mac_address'), 'MAC address')
  for (const [key, attachment] of Object.entries(service.networks ?? {})) {
    for (const field of ['ipv4_address', 'ipv6_address', 'mac_address'] as const) {
      if (attachment[field] === undefined) continue
      const what = field === 'mac_address' ? 'MAC address' : 'address'
      problem(place.at('networks', key, field), what)
    }
  }
}

function reportSharedContainerNames(
  project: string,
  services: readonly ServiceSpec[],
  place: Place,
): void {
  const replicas = new Map(
    services.map(service => [service.name, service.containerName ? 0 : service.replicas]),
  )
  const owners = new Map<string, string>()
  for (const { name, containerName } of services) {
    if (containerName === undefined) continue
    const [, generated = '', number = ''] = /^(.+)-([1-9]\d*)$/.exec(containerName) ?? []
    const service = generated.startsWith(`${project}-`) ? generated.slice(project.length + 1) : ''
    const isGenerated = Number(number) <= (replicas.get(service) ?? 0)
    const owner = isGenerated && service !== '' ? service : owners.get(containerName)
    if (owner !== undefined) {
      const at = place.at(name, 'container_name')
      at.problem(`"${containerName}" is already the name of a container of service "${owner}"`)
    }
    owners.set(containerName, name)
  }
}

function reportSharedAddresses(
  services: readonly ServiceSpec[],
  declared: ReadonlyMap<string, DeclaredService>,
  networks: ReadonlyMap<string, ResolvedNetwork>,
  place: Place,
): void {
  const owners = new Map<string, string>()
  for (const { name } of services) {
    for (const [key, attachment] of Object.entries(declared.get(name)?.networks ?? {})) {
      const network = networks.get(key)?.spec.name ?? key
      for (const field of ['ipv4_address', 'ipv6_address'] as const) {
        const text = attachment[field]
        const address = text === undefined ? undefined : canonicalAddress(text)
        if (address === undefined) continue
        const owner = owners.get(`${network} ${address}`)
        if (owner !== undefined) {
          place
            .at(name, 'networks', key, field)
            .problem(`"${text}" is already the address of service "${owner}"`)
        }
        owners.set(`${network} ${address}`, name)
      }
    }
  }
}

function canonicalAddress(text: string): string | undefined {
  try {
    return formatAddress(parseAddress(text))
  } catch {
    return undefined // Reported where the attachment is resolved.
  }
}

/** Two services that publish the same port of the same address. */
function reportSharedPorts(services: readonly ServiceSpec[], place: Place): void {
  const owners = new Map<string, { name: string; hostAddress: string }[]>()
  const isAny = (address: string) => address === '' || address === '0.0.0.0' || address === '::'
  for (const { name, ports, container } of services) {
    if (container.networkMode.kind === 'host') continue
    for (const { published, protocol, hostAddress = '' } of ports) {
      if (published === undefined) continue
      const key = `${published}/${protocol}`
      const known = owners.get(key) ?? []
      const other = known.find(
        owner =>
          owner.name !== name &&
          (owner.hostAddress === hostAddress || isAny(owner.hostAddress) || isAny(hostAddress)),
      )
      if (other !== undefined) {
        place.at(name, 'ports').problem(`service "${other.name}" already publishes ${key}`)
      }
      owners.set(key, [...known, { name, hostAddress }])
    }
  }
}
