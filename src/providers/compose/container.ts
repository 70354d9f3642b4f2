/** What each replica of a service runs: command, environment, names, links and restarts. */

import { constants } from 'node:os'
import type { ContainerSpec, ExtraHost, Link, RestartPolicy } from '../../catalog/service.js'
import { checkAddress } from './address.js'
import type { ResolvedStack } from './attachment.js'
import { resolveEnvironment, resolvePath, type Surroundings } from './environment.js'
import { resolveHealthcheck } from './healthcheck.js'
import { aliasProblem, MAX_HOSTNAME, nameProblem, shorten } from './name.js'
import { labelsOf } from './network.js'
import type { Place } from './report.js'
import type { DeclaredService } from './schema.js'
import { splitWords } from './words.js'

/** Docker's time between the stop signal and SIGKILL. */
const STOP_GRACE_MS = 10_000

/** The ContainerSpec of `service`, which is declared at `place`. */
export function resolveContainer(
  service: DeclaredService,
  stack: ResolvedStack,
  around: Surroundings,
  place: Place,
): ContainerSpec {
  reportConflicts(service, stack, place)
  const { hostname, domainname } = service
  for (const key of ['hostname', 'domainname'] as const) {
    const problem = hostnameProblem(service[key], key === 'hostname' ? MAX_HOSTNAME : Infinity)
    if (problem !== undefined) place.at(key).problem(problem)
  }
  const healthcheck = resolveHealthcheck(service.healthcheck, place.at('healthcheck'))
  return {
    argv: resolveArgv(service, place),
    environment: resolveEnvironment(service, around, place),
    ...(service.working_dir === undefined
      ? {}
      : { workingDirectory: resolvePath(service.working_dir, around) }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(domainname === undefined ? {} : { domainname }),
    networkMode: stack.mode,
    dns: resolveServers(service.dns ?? [], place.at('dns')),
    dnsSearch: resolveSearch(service.dns_search ?? [], place.at('dns_search')),
    dnsOptions: resolveOptions(service.dns_opt ?? [], place.at('dns_opt')),
    extraHosts: resolveHosts(service.extra_hosts ?? [], place.at('extra_hosts')),
    links: [
      ...resolveLinks(service.links ?? [], false, place.at('links')),
      ...resolveLinks(service.external_links ?? [], true, place.at('external_links')),
    ],
    ...(healthcheck === undefined ? {} : { healthcheck }),
    restart: resolveRestart(service, place),
    stopSignal: resolveSignal(service.stop_signal, place.at('stop_signal')),
    stopGraceMs: service.stop_grace_period ?? STOP_GRACE_MS,
    labels: labelsOf(service.labels),
  }
}

/** The entry point followed by the command: what is run. */
function resolveArgv(service: DeclaredService, place: Place): readonly string[] {
  const argv = (['entrypoint', 'command'] as const).flatMap(key => {
    const declared = service[key] ?? []
    if (typeof declared !== 'string') return declared
    const split = splitWords(declared)
    if (split === undefined) {
      place.at(key).problem(`"${shorten(declared)}" has a quote that is not closed`)
      return ['']
    }
    if (split.operator !== undefined) {
      place
        .at(key)
        .warn(`"${split.operator}" means nothing without a shell; use one with ["sh", "-c", "…"]`)
    }
    return split.words
  })
  if (argv.length === 0) {
    place.missing('needs a command, because Portolan runs host programs, not images')
  } else if (argv[0] === '' && argv.length > 1) {
    place.at(service.entrypoint == null ? 'command' : 'entrypoint').problem('begins with nothing')
  }
  return argv
}

/** What a shared or a missing network stack leaves no room for; the engine refuses it as well. */
function reportConflicts(service: DeclaredService, stack: ResolvedStack, place: Place): void {
  const { kind } = stack.mode
  const text = service.network_mode ?? kind
  const isShared = kind === 'container' || kind === 'service'
  const conflicts: readonly (keyof DeclaredService)[] = isShared
    ? [
        'hostname',
        'domainname',
        'dns',
        'dns_search',
        'dns_opt',
        'extra_hosts',
        'links',
        'ports',
        'expose',
        'mac_address',
      ]
    : kind === 'host'
      ? ['links', 'mac_address']
      : kind === 'none'
        ? ['mac_address']
        : []
  for (const key of conflicts) {
    if (service[key] === undefined) continue
    place.at(key).problem(`cannot be used together with network_mode "${shorten(text)}"`)
  }
}

function hostnameProblem(name: string | undefined, max: number): string | undefined {
  if (name === undefined) return undefined
  if (name.length > max) {
    return `"${shorten(name)}" has ${name.length} characters; a host name has at most ${max}`
  }
  return nameProblem(name)
}

function resolveServers(servers: readonly string[], place: Place): readonly string[] {
  servers.forEach((server, i) => {
    const checked = checkAddress(server)
    if (checked.kind === 'problem') place.at(i).problem(checked.message)
  })
  return servers
}

/** A single `.` means: search nowhere. */
function resolveSearch(domains: readonly string[], place: Place): readonly string[] {
  domains.forEach((domain, i) => {
    const problem = domain === '.' ? undefined : nameProblem(domain.replace(/\.$/, ''))
    if (problem !== undefined) place.at(i).problem(problem)
  })
  return domains
}

function resolveOptions(options: readonly string[], place: Place): readonly string[] {
  options.forEach((option, i) => {
    if (!/^[\x21-\x7e]+$/.test(option)) {
      place.at(i).problem(`"${shorten(option)}" is not a resolver option, such as ndots:2`)
    }
  })
  return options
}

/** `HOST=ADDRESS`, or `HOST:ADDRESS`; an IPv6 address may be in brackets. */
function resolveHosts(hosts: readonly string[], place: Place): readonly ExtraHost[] {
  return hosts.flatMap((text, i) => {
    const equals = text.indexOf('=')
    const separator = equals < 0 ? text.indexOf(':') : equals
    if (separator < 0) {
      place.at(i).problem(`"${shorten(text)}" is not a host; write it as HOST=ADDRESS`)
      return []
    }
    const name = text.slice(0, separator)
    const address = text.slice(separator + 1).replace(/^\[(.*)\]$/, '$1')
    const problem = nameProblem(name)
    if (problem !== undefined) place.at(i).problem(problem)
    const checked = checkAddress(address)
    if (address !== 'host-gateway' && checked.kind === 'problem') {
      place.at(i).problem(`${checked.message}, nor host-gateway`)
    }
    return [{ name, address }]
  })
}

/** `TARGET` or `TARGET:ALIAS`. */
function resolveLinks(
  links: readonly string[],
  isExternal: boolean,
  place: Place,
): readonly Link[] {
  return links.flatMap((text, i) => {
    const [target = '', alias = target, ...rest] = text.split(':')
    const form = isExternal ? 'CONTAINER or CONTAINER:ALIAS' : 'SERVICE or SERVICE:ALIAS'
    const problem =
      target === '' || rest.length > 0
        ? `"${shorten(text)}" is not a link; write ${form}`
        : (nameProblem(target) ?? aliasProblem(alias))
    if (problem === undefined) return [{ target, alias, isExternal }]
    place.at(i).problem(problem)
    return []
  })
}

function resolveRestart(service: DeclaredService, place: Place): RestartPolicy {
  if (service.restart === undefined) {
    const { condition = 'any', max_attempts: maxRetries } = service.deploy?.restart_policy ?? {
      condition: 'none' as const,
    }
    if (condition === 'none') return { condition: 'no' }
    if (condition === 'any') return { condition: 'always' }
    return maxRetries === undefined
      ? { condition: 'on-failure' }
      : { condition: 'on-failure', maxRetries }
  }
  const text = service.restart
  // YAML 1.1 reads an unquoted `no` as false; so do files written by programs.
  if (text === 'no' || text === 'false' || text === '') return { condition: 'no' }
  if (text === 'always' || text === 'unless-stopped') return { condition: text }
  const match = /^on-failure(?::(\d{1,6}))?$/.exec(text)
  if (match === null) {
    place
      .at('restart')
      .problem(
        `"${shorten(text)}" is not known; write no, always, on-failure, on-failure:RETRIES or unless-stopped`,
      )
    return { condition: 'no' }
  }
  // As with Docker, 0 is no bound.
  const retries = Number(match[1] ?? 0)
  return retries === 0
    ? { condition: 'on-failure' }
    : { condition: 'on-failure', maxRetries: retries }
}

/** `SIGTERM`, `TERM` or a number, as the name with SIG. */
function resolveSignal(text: string | undefined, place: Place): string {
  if (text === undefined) return 'SIGTERM'
  const upper = text.toUpperCase()
  const named = upper.startsWith('SIG') ? upper : `SIG${upper}`
  const known = Object.entries(constants.signals)
  const signal = known.find(([name, number]) => name === named || String(number) === text)
  if (signal === undefined) {
    place.problem(`"${shorten(text)}" is not a signal, such as SIGTERM or 15`)
  }
  return signal?.[0] ?? 'SIGTERM'
}
