/**
 * Finds what a view knows of a name, for every type at once: an owner, an empty name between
 * owned ones, or a name that is ours to deny. Undefined means that the name is not ours.
 *
 * The order: link aliases, names on each network, `name.network` (each dot from the right),
 * wildcards, names with a fixed meaning, the private suffix, domains of managed networks.
 */

import { GATEWAY_NAME } from './claims.js'
import { findManagedSubnet } from './managed.js'
import { type NameKey, countLabels, isWithin, parentStart } from './name.js'
import { type Owner, barePointers, compileOwner } from './owner.js'
import { isReverseWithin, parseReverse, reverseApexStart } from './reverse.js'
import { LOCALHOST, findSpecial, loopback } from './special.js'
import type { View } from './view.js'
import type { NetworkZone } from './zone.js'

/** By which rule a name was found. */
export type Rule =
  'link' | 'name' | 'network' | 'wildcard' | 'reverse' | 'special' | 'suffix' | 'service-port'

/** `apex` is where the closest local apex starts in the name: the owner of the SOA. */
export type Found =
  | {
      readonly kind: 'owner'
      readonly owner: Owner
      readonly apex: number
      readonly rule: Rule
      readonly zone: NetworkZone | undefined
    }
  | {
      readonly kind: 'no-data' | 'name-error'
      readonly apex: number
      readonly rule: Rule
      readonly zone: NetworkZone | undefined
    }

/** What `view` knows of `name`. */
export function find(view: View, name: NameKey): Found | undefined {
  if (name === LOCALHOST) return found(loopback, 0, 'special', undefined)
  const exact = findExact(view, name)
  if (exact !== undefined) return exact
  if (name === '') return undefined
  if (name.endsWith('\x04arpa')) return findReverse(view, name)
  return (
    findQualified(view, name) ??
    (view.hasWildcards ? findWildcard(view, name) : undefined) ??
    findFixed(view, name) ??
    findInSuffix(view, name) ??
    findInNetwork(view, name) ??
    findServicePort(view, name)
  )
}

function findExact(view: View, name: NameKey): Found | undefined {
  const link = view.links?.get(name)?.[0]
  if (link !== undefined) return found(link.owner, 0, 'link', link.zone)
  const { networks } = view
  for (let i = 0; i < networks.length; i++) {
    const zone = networks[i]
    const owner = zone?.owners.get(name)
    if (owner === undefined) continue
    if (view.isPodman && networks.length > 1) return findUnion(view, name, zone)
    return found(ownOf(view, owner), 0, 'name', zone)
  }
  return undefined
}

/** The records that the asker hears: its own group's where several groups claim the name. */
function ownOf(view: View, owner: Owner): Owner {
  if (owner.byGroup === undefined || view.group === undefined) return owner
  return owner.byGroup.get(view.group) ?? owner
}

/** podman: one name on several networks answers with all of them. */
function findUnion(view: View, name: NameKey, zone: NetworkZone | undefined): Found {
  let union = view.unions.get(name)
  if (union === undefined) {
    const claims = view.networks.flatMap(({ owners }) => owners.get(name)?.claims ?? [])
    union = ownOf(view, compileOwner(claims) ?? loopback)
    view.unions.set(name, union)
  }
  return found(union, 0, 'name', zone)
}

/** `name.network`, the network's name growing from the right as in moby (sandbox.go:448-475). */
function findQualified(view: View, name: NameKey): Found | undefined {
  const starts = labelStarts(name)
  for (let i = starts.length - 1; i > 0 && starts.length - i <= view.networkLabels; i--) {
    const start = starts[i] ?? 0
    const zone = view.networkOf.get(name.slice(start))
    if (zone === undefined) continue
    const own = name.slice(0, start)
    // A dotted network name may be a real domain: its records are ours, its apex is not.
    const apex = i === starts.length - 1 ? start : 0
    const link = view.links?.get(own)?.find(each => each.zone === zone)
    if (link !== undefined) return found(link.owner, apex, 'link', zone)
    const owner = zone.owners.get(own)
    if (owner !== undefined) return found(ownOf(view, owner), apex, 'network', zone)
    if (own === GATEWAY_NAME) return found(zone.gateway, apex, 'network', zone)
  }
  return undefined
}

function findWildcard(view: View, name: NameKey): Found | undefined {
  for (const zone of view.networks) {
    const match = matchWildcard(view, zone, name, name.length)
    if (match !== undefined) return match
  }
  for (const [suffix, zone] of view.networkOf) {
    if (suffix.length >= name.length || !isWithin(name, suffix)) continue
    const match = matchWildcard(view, zone, name, name.length - suffix.length)
    if (match !== undefined) return match
  }
  return undefined
}

/** RFC 4592 §3.3: only `*.E` matches, E being the closest ancestor that exists. */
function matchWildcard(
  view: View,
  zone: NetworkZone,
  name: NameKey,
  end: number,
): Found | undefined {
  if (zone.wildcards === 0) return undefined
  let at = parentStart(name)
  // An ancestor with more labels than any owner cannot exist.
  const labels = countLabels(name.slice(at, end))
  for (let skip = labels - zone.deepest; skip > 0; skip--) at = parentStart(name, at)
  for (; at < end; at = parentStart(name, at)) {
    const ancestor = name.slice(at, end)
    const owner = zone.owners.get(`\x01*${ancestor}`)
    if (owner !== undefined) {
      const isBetween = zone.nonTerminals.get(name.slice(0, end)) !== undefined
      if (isBetween) return { kind: 'no-data', apex: at, rule: 'wildcard', zone }
      return found(ownOf(view, owner), at, 'wildcard', zone)
    }
    if (zone.nonTerminals.get(ancestor) !== undefined || zone.owners.get(ancestor)) return undefined
  }
  return undefined
}

function findFixed(view: View, name: NameKey): Found | undefined {
  const special = findSpecial(name, view.localDomain)
  if (special === undefined) return undefined
  if (special.kind === 'loopback') {
    return found(loopback, name.length - LOCALHOST.length, 'special', undefined)
  }
  if (special.kind === 'host') return found(view.host, 0, 'special', undefined)
  return nameError(domainApex(name, special.domain), 'special', undefined)
}

/** `name.SUFFIX` and `name.network.SUFFIX`; the rest of the suffix is ours to deny. */
function findInSuffix(view: View, name: NameKey): Found | undefined {
  const { suffix } = view
  if (suffix === undefined || !isWithin(name, suffix)) return undefined
  const apex = name.length - suffix.length
  if (apex === 0) return { kind: 'no-data', apex, rule: 'suffix', zone: undefined }
  const own = name.slice(0, apex)
  const match =
    findExact(view, own) ??
    findQualified(view, own) ??
    (view.hasWildcards ? findWildcard(view, own) : undefined)
  if (match !== undefined) return { ...match, apex, rule: 'suffix' }
  return nameError(apex, 'suffix', undefined)
}

/** A network name of one label is a domain of ours: nothing below it is asked of upstreams. */
function findInNetwork(view: View, name: NameKey): Found | undefined {
  const starts = labelStarts(name)
  const apex = starts[starts.length - 1] ?? 0
  const last = name.slice(apex)
  const zone = view.networkOf.get(last)
  if (zone === undefined) {
    const isManaged = apex > 0 && view.managed?.names.has(last) === true
    return isManaged ? nameError(apex, 'network', undefined) : undefined
  }
  const isBetween = apex === 0 || zone.nonTerminals.get(name.slice(0, apex)) !== undefined
  if (isBetween) return { kind: 'no-data', apex, rule: 'network', zone }
  return nameError(apex, 'network', zone)
}

/**
 * `_port._protocol.NAME` below a local name. The upstream must not learn of a single label, nor
 * be asked for a port that a service does not have; `_acme-challenge.` of a dotted alias may be
 * real.
 */
function findServicePort(view: View, name: NameKey): Found | undefined {
  if (name.charCodeAt(1) !== UNDERSCORE) return undefined
  let base = 0
  let protocol = ''
  while (base < name.length && name.charCodeAt(base + 1) === UNDERSCORE) {
    const next = parentStart(name, base)
    protocol = name.slice(base + 1, next)
    base = next
  }
  const parent = findExact(view, name.slice(base))
  if (parent?.kind !== 'owner' || base === name.length) return undefined
  const { zone } = parent
  if (zone?.nonTerminals.get(name) !== undefined) {
    return { kind: 'no-data', apex: base, rule: 'service-port', zone }
  }
  const isService = parent.owner.claims.some(claim => claim.source.startsWith('service '))
  const isSingleLabel = parentStart(name, base) === name.length
  const isOurs = isSingleLabel || (isService && /^_(tcp|udp|sctp)$/.test(protocol))
  return isOurs ? nameError(base, 'service-port', zone) : undefined
}

const UNDERSCORE = 0x5f

/** Attached subnets are answered from here alone, and managed ones never leave the host. */
function findReverse(view: View, name: NameKey): Found | undefined {
  for (const zone of view.networks) {
    const pointer = zone.pointers.get(name)
    if (pointer === undefined) continue
    const owner = view.isPodman ? barePointers(pointer) : pointer.owner
    return found(owner, pointer.apex, 'reverse', zone)
  }
  const reverse = parseReverse(name)
  if (reverse === undefined) return undefined
  const isBetween = reverse.isValid && !isWhole(reverse.prefix)
  for (const zone of view.networks) {
    const subnet = zone.context.subnets.find(each => isReverseWithin(reverse, each))
    if (subnet === undefined) continue
    const kind = isBetween ? 'no-data' : 'name-error'
    return { kind, apex: reverseApexStart(name, subnet), rule: 'reverse', zone }
  }
  const managed = view.managed && findManagedSubnet(view.managed, reverse)
  if (managed === undefined) return undefined
  return nameError(reverseApexStart(name, managed), 'reverse', undefined)
}

function isWhole(prefix: { readonly family: 4 | 6; readonly length: number }): boolean {
  return prefix.length === (prefix.family === 4 ? 32 : 128)
}

/** The domain's own name is denied too: its SOA is then the root's. */
function domainApex(name: NameKey, domain: NameKey): number {
  return name === domain ? name.length : name.length - domain.length
}

function labelStarts(name: NameKey): number[] {
  const starts: number[] = []
  for (let at = 0; at < name.length; at = parentStart(name, at)) starts.push(at)
  return starts
}

function found(owner: Owner, apex: number, rule: Rule, zone: NetworkZone | undefined): Found {
  return { kind: 'owner', owner, apex, rule, zone }
}

function nameError(apex: number, rule: Rule, zone: NetworkZone | undefined): Found {
  return { kind: 'name-error', apex, rule, zone }
}
