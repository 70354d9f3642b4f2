/** How the replicas of a service get their network stack: attachments to networks, or a mode. */

import { formatAddress, prefixContains, type Family } from '../../base/ip.js'
import type { Attachment, NetworkMode } from '../../catalog/service.js'
import { checkAddress, hostAddressProblem, normaliseMac } from './address.js'
import { aliasProblem, shorten, suggestion } from './name.js'
import type { ResolvedNetwork } from './network.js'
import type { Place } from './report.js'
import type { DeclaredAttachment, DeclaredService } from './schema.js'

/** What a service's `networks` and `network_mode` come to. */
export interface ResolvedStack {
  readonly mode: NetworkMode
  readonly attachments: readonly Attachment[]
  /** Keys of the networks used. */
  readonly networks: readonly string[]
}

/** The longest interface name (`IFNAMSIZ` less its NUL). */
const MAX_INTERFACE_NAME = 15

/** What `service`, declared at `place`, asks for. Static addresses are checked against the subnets. */
export function resolveStack(
  service: DeclaredService,
  networks: ReadonlyMap<string, ResolvedNetwork>,
  place: Place,
): ResolvedStack {
  const declared = Object.entries(service.networks ?? {})
  if (service.network_mode !== undefined) {
    if (declared.length > 0) {
      place.at('network_mode').problem('cannot be used together with networks')
    }
    return resolveMode(service.network_mode, place.at('network_mode'))
  }
  // Highest priority first, then by name: the first one becomes eth0, as with Compose.
  const wanted: [string, DeclaredAttachment][] = declared.length > 0 ? declared : [['default', {}]]
  const sorted = [...wanted].sort(
    ([a, { priority: p = 0 }], [b, { priority: q = 0 }]) => q - p || (a < b ? -1 : 1),
  )
  const known = sorted.flatMap(([key, attachment]) => {
    const network = networks.get(key)
    if (network !== undefined) return [{ key, attachment, network }]
    const hint = suggestion(key, networks.keys())
    place.at('networks', key).problem(`the file declares no network "${shorten(key)}"${hint}`)
    return []
  })
  const special = known.find(({ network }) => network.spec.driver !== 'bridge')
  if (special !== undefined) {
    const kind = special.network.spec.driver === 'host' ? 'host' : 'none'
    if (known.length > 1) {
      place
        .at('networks', special.key)
        .problem(`a service on the "${kind}" network cannot be on another one`)
    }
    return { mode: { kind }, attachments: [], networks: [] }
  }
  const attachments = known.map(({ key, attachment, network }) =>
    resolveAttachment(attachment, network, place.at('networks', key)),
  )
  reportSharedInterfaces(attachments, known, place)
  return {
    mode: { kind: 'networks' },
    attachments: withServiceMac(attachments, service.mac_address, place.at('mac_address')),
    networks: known.map(({ key }) => key),
  }
}

function resolveMode(text: string, place: Place): ResolvedStack {
  const none: ResolvedStack = { mode: { kind: 'none' }, attachments: [], networks: [] }
  if (text === 'none') return none
  if (text === 'host') return { ...none, mode: { kind: 'host' } }
  if (text === 'bridge' || text === 'default') {
    const attachment: Attachment = { network: 'bridge', aliases: [], gatewayPriority: 0 }
    return { ...none, mode: { kind: 'networks' }, attachments: [attachment] }
  }
  const [, kind, name] = /^(service|container):(.+)$/s.exec(text) ?? []
  if (kind === 'service' && name !== undefined) return { ...none, mode: { kind, service: name } }
  if (kind === 'container' && name !== undefined)
    return { ...none, mode: { kind, container: name } }
  place.problem(
    `"${shorten(text)}" is not known; write bridge, host, none, service:NAME or container:NAME`,
  )
  return none
}

function resolveAttachment(
  declared: DeclaredAttachment,
  network: ResolvedNetwork,
  place: Place,
): Attachment {
  const aliases = declared.aliases ?? []
  aliases.forEach((alias, i) => {
    const problem = aliasProblem(alias)
    if (problem !== undefined) place.at('aliases', i).problem(problem)
  })
  const ipv4 = resolveStatic(declared.ipv4_address, 4, network, place.at('ipv4_address'))
  const ipv6 = resolveStatic(declared.ipv6_address, 6, network, place.at('ipv6_address'))
  const mac = resolveMac(declared.mac_address, place.at('mac_address'))
  const name = declared.interface_name
  if (name !== undefined) reportInterfaceName(name, place.at('interface_name'))
  return {
    network: network.spec.name,
    aliases,
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    ...(mac === undefined ? {} : { mac }),
    ...(name === undefined ? {} : { interfaceName: name }),
    gatewayPriority: declared.gw_priority ?? 0,
  }
}

function resolveStatic(
  text: string | undefined,
  family: Family,
  network: ResolvedNetwork,
  place: Place,
): string | undefined {
  if (text === undefined) return undefined
  const checked = checkAddress(text, family)
  if (checked.kind === 'problem') {
    place.problem(checked.message)
    return undefined
  }
  const address = checked.value
  // What the subnets of somebody else's network are is known only when it is looked up.
  if (network.isExternal) return formatAddress(address)
  const subnets = network.subnets.filter(subnet => subnet.prefix.family === family)
  const subnet = subnets.find(({ prefix }) => prefixContains(prefix, address))
  if (subnet === undefined) {
    const list = subnets.map(({ spec }) => spec.subnet).join(', ')
    place.problem(
      subnets.length === 0
        ? `network "${network.key}" needs an IPv${family} subnet under ipam.config for a static address`
        : `"${text}" is outside the subnet ${list} of network "${network.key}"`,
    )
    return undefined
  }
  const use = subnet.taken.get(address.value)
  const problem =
    use === undefined
      ? hostAddressProblem(address, subnet.prefix)
      : `"${text}" is ${use} of network "${network.key}"`
  if (problem !== undefined) place.problem(problem)
  return formatAddress(address)
}

function resolveMac(text: string | undefined, place: Place): string | undefined {
  if (text === undefined) return undefined
  const mac = normaliseMac(text)
  if (mac === undefined) {
    place.problem(
      `"${shorten(text)}" is not the MAC address of an interface, such as 02:42:0a:00:01:05`,
    )
  }
  return mac
}

/** The service's own `mac_address` (the old place for it) is that of its first network. */
function withServiceMac(
  attachments: readonly Attachment[],
  text: string | undefined,
  place: Place,
): readonly Attachment[] {
  const mac = resolveMac(text, place)
  const [first, ...rest] = attachments
  if (mac === undefined || first === undefined || first.mac !== undefined) return attachments
  return [{ ...first, mac }, ...rest]
}

function reportInterfaceName(name: string, place: Place): void {
  const isName = /^[^\s/:\0]+$/.test(name) && !['.', '..', 'lo'].includes(name)
  if (!isName || Buffer.byteLength(name) > MAX_INTERFACE_NAME) {
    place.problem(
      `"${shorten(name)}" is not an interface name of at most ${MAX_INTERFACE_NAME} characters`,
    )
  }
}

function reportSharedInterfaces(
  attachments: readonly Attachment[],
  known: readonly { readonly key: string }[],
  place: Place,
): void {
  const names = new Set<string>()
  attachments.forEach(({ interfaceName }, i) => {
    if (interfaceName === undefined) return
    if (names.has(interfaceName)) {
      const key = known[i]?.key ?? ''
      place
        .at('networks', key, 'interface_name')
        .problem(`"${interfaceName}" is already the interface of another network of this service`)
    }
    names.add(interfaceName)
  })
}
