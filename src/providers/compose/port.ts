/** Published and exposed ports: the short syntax, ranges, and the long one. */

import { isIP } from 'node:net'
import type { PortSpec } from '../../catalog/service.js'
import { shorten } from './name.js'
import type { Place } from './report.js'
import type { DeclaredPort } from './schema.js'

interface Range {
  readonly first: number
  readonly last: number
}

/** A port or a range of them, before it is written out. */
interface PortRange {
  readonly name?: string
  readonly target: Range
  readonly published?: Range
  readonly isPublished: boolean
  readonly hostAddress?: string
  readonly protocol: PortSpec['protocol']
  readonly mode: PortSpec['mode']
}

/** As many as there are ports: more is a mistake, and would only fill the memory. */
const MAX_BINDINGS = 65_536

const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const

/** The ports of one service: `ports` at `place.ports`, `expose` at `place.expose`. */
export function resolvePorts(
  ports: readonly (string | DeclaredPort)[],
  exposed: readonly string[],
  place: Place,
): readonly PortSpec[] {
  // The same binding again, from a later file, replaces the earlier one.
  const bindings = new Map<string, PortSpec>()
  const add = (range: PortRange, at: Place) => {
    if (bindings.size <= MAX_BINDINGS) writeOut(range, at).forEach(bind)
    if (bindings.size > MAX_BINDINGS) at.problem(`makes more than ${MAX_BINDINGS} ports`)
  }
  const bind = (port: PortSpec) => {
    const { hostAddress = '', published = '', target, protocol } = port
    bindings.set(`${hostAddress}|${published}|${target}|${protocol}|${port.isPublished}`, port)
  }
  ports.forEach((port, i) => {
    const at = place.at('ports', i)
    const range = typeof port === 'string' ? parseShort(port, at) : parseLong(port, at)
    if (range !== undefined) add(range, at)
  })
  exposed.forEach((text, i) => {
    const at = place.at('expose', i)
    const [ports = '', protocol] = splitProtocol(text)
    const target = parseRange(ports, 1)
    const known = checkProtocol(protocol, at)
    if (target === undefined)
      at.problem(`"${shorten(text)}" is not a port; write 3000 or 3000-3005`)
    if (target === undefined || known === undefined) return
    add({ target, isPublished: false, protocol: known, mode: 'ingress' }, at)
  })
  return [...bindings.values()]
}

/** `[[HOST_IP:][PUBLISHED]:]TARGET[/PROTOCOL]`; an IPv6 HOST_IP may be in brackets. */
function parseShort(text: string, place: Place): PortRange | undefined {
  const [binding = '', protocolText] = splitProtocol(text)
  const parts = binding.split(':')
  const targetText = parts.pop() ?? ''
  const publishedText = parts.pop()
  const host = parts.join(':').replace(/^\[(.*)\]$/, '$1')
  const hasHost = parts.length > 0
  const target = parseRange(targetText, 1)
  const published = publishedText ? parseRange(publishedText, 0) : undefined
  if (target === undefined || (publishedText && published === undefined)) {
    place.problem(
      `"${shorten(text)}" is not a port; write [HOST_IP:]PUBLISHED:TARGET[/PROTOCOL] with ports up to 65535`,
    )
    return undefined
  }
  if (hasHost && isIP(host) === 0) {
    place.problem(`"${shorten(host)}" is not an IPv4 or IPv6 address to publish at`)
    return undefined
  }
  const protocol = checkProtocol(protocolText, place)
  if (protocol === undefined) return undefined
  const where = {
    ...(published === undefined ? {} : { published }),
    ...(hasHost ? { hostAddress: host } : {}),
  }
  return { target, ...where, isPublished: true, protocol, mode: 'ingress' }
}

function parseLong(port: DeclaredPort, place: Place): PortRange | undefined {
  const target = parseRange(port.target, 1)
  if (target === undefined || target.first !== target.last) {
    place.at('target').problem(`"${shorten(port.target)}" is not a port from 1 to 65535`)
  }
  const given = port.published === '' ? undefined : port.published
  const published = given === undefined ? undefined : parseRange(given, 0)
  if (given !== undefined && published === undefined) {
    place.at('published').problem(`"${shorten(given)}" is not a port or a range of ports`)
  }
  if (port.host_ip !== undefined && isIP(port.host_ip) === 0) {
    place.at('host_ip').problem(`"${shorten(port.host_ip)}" is not an IPv4 or IPv6 address`)
  }
  const protocol = checkProtocol(port.protocol, place.at('protocol'))
  if (target === undefined || protocol === undefined) return undefined
  return {
    ...(port.name === undefined ? {} : { name: port.name }),
    target,
    ...(published === undefined ? {} : { published }),
    isPublished: true,
    ...(port.host_ip === undefined ? {} : { hostAddress: port.host_ip }),
    protocol,
    mode: port.mode ?? 'ingress',
  }
}

/** One port for each of a range. */
function writeOut(range: PortRange, place: Place): readonly PortSpec[] {
  const { target, published, ...rest } = range
  const count = target.last - target.first + 1
  const offered = published === undefined ? count : published.last - published.first + 1
  if (offered !== count && count !== 1) {
    place.problem(`publishes ${offered} ports for ${count} of the container; give as many`)
    return []
  }
  if (published !== undefined && offered !== count) {
    const { first, last } = published
    place.warn(`is published at ${first}, the first of the range ${first}-${last}`)
  }
  return Array.from({ length: count }, (_, i) => {
    const port = { ...rest, target: target.first + i }
    // Port 0 leaves the choice to the allocator, as does none.
    const isChosen = published !== undefined && published.first !== 0
    return isChosen ? { ...port, published: published.first + i } : port
  })
}

function splitProtocol(text: string): readonly [string, string | undefined] {
  const slash = text.indexOf('/')
  return slash < 0 ? [text, undefined] : [text.slice(0, slash), text.slice(slash + 1)]
}

function checkProtocol(text: string | undefined, place: Place): PortSpec['protocol'] | undefined {
  const protocol = PROTOCOLS.find(known => known === (text ?? 'tcp').toLowerCase())
  if (protocol === undefined) {
    place.problem(`"${shorten(text ?? '')}" is not a protocol; the protocols are tcp, udp and sctp`)
  }
  return protocol
}

/** `N` or `N-M`, both from `min` to 65535. */
function parseRange(text: string, min: number): Range | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text)
  const first = Number(match?.[1] ?? NaN)
  const last = Number(match?.[2] ?? match?.[1] ?? NaN)
  return first >= min && last >= first && last <= 65_535 ? { first, last } : undefined
}
