/**
 * One owner name of a network: everybody who claims it, and the record sets that follow. Decides
 * who is heard: names and aliases before fallbacks, the asker's own group before others.
 */

import type { NameKey, WireName } from './name.js'
import type { AddressKey } from './reverse.js'
import { TYPE } from './rr.js'
import { type Rrset, type ServiceTarget, addressSet, pointerSet, serviceSet } from './rrset.js'

/** What one endpoint or service says about one name. */
export interface Claim {
  readonly key: NameKey
  /** Who claims: `endpoint ID` or `service GROUP/NAME`, unique on the network. */
  readonly source: string
  /** `fallback` is heard only where nobody claims the name as a `name`. */
  readonly tier: 'name' | 'fallback'
  readonly group: string | undefined
  readonly ttlSeconds: number
  readonly addresses: readonly AddressKey[]
  /** The sets of `addresses`: what a name says that nobody else claims. Shared by all names. */
  readonly alone: AddressSets
  readonly targets: readonly ServiceTarget[]
}

/** Addresses by question type: A, AAAA, and both for ANY. Empty lists are NODATA. */
export interface AddressSets {
  readonly a: readonly Rrset[]
  readonly aaaa: readonly Rrset[]
  readonly addresses: readonly Rrset[]
}

/** What one endpoint, service or gateway says about one address. */
export interface PointerClaim {
  readonly key: NameKey
  readonly source: string
  /** The lowest is heard: endpoints 0, services 1, gateways 2. */
  readonly rank: number
  readonly ttlSeconds: number
  /** Where the closest reverse apex starts in `key`. */
  readonly apex: number
  /** The qualified name (docker). */
  readonly target: WireName
  /** All names, unqualified (podman). */
  readonly bare: readonly WireName[]
}

/** A name that exists, with its sets by question type; an empty list is NODATA. */
export interface Owner extends AddressSets {
  readonly claims: readonly Claim[]
  readonly ptr: readonly Rrset[]
  readonly srv: readonly Rrset[]
  /** Own records of each group, where claims of several groups meet. */
  readonly byGroup: ReadonlyMap<string, Owner> | undefined
}

/** An address that has a name. */
export interface PointerOwner {
  readonly claims: readonly PointerClaim[]
  readonly owner: Owner
  readonly apex: number
}

const nothing: readonly Rrset[] = []

/** The sets that answer `type`. ANY gets what there is (RFC 8482 §4.1 allows a subset). */
export function selectSets(owner: Owner, type: number): readonly Rrset[] {
  if (type === TYPE.A) return owner.a
  if (type === TYPE.AAAA) return owner.aaaa
  if (type === TYPE.PTR) return owner.ptr
  if (type === TYPE.SRV) return owner.srv
  if (type !== TYPE.ANY) return nothing
  if (owner.addresses.length > 0) return owner.addresses
  return owner.ptr.length > 0 ? owner.ptr : owner.srv
}

/** Compiles the claims of one name; undefined where nobody claims it. */
export function compileOwner(claims: readonly Claim[]): Owner | undefined {
  if (claims.length === 0) return undefined
  const names = claims.filter(claim => claim.tier === 'name')
  const heard = names.length > 0 ? names : claims
  const owner = compileSets(claims, heard)
  const groups = new Set(heard.map(claim => claim.group))
  if (groups.size < 2) return owner
  const byGroup = new Map<string, Owner>()
  for (const group of groups) {
    if (group === undefined) continue
    const own = heard.filter(claim => claim.group === group)
    byGroup.set(group, compileSets(own, own))
  }
  return { ...owner, byGroup }
}

/** An owner outside a zone's table: `localhost`, a gateway, or a link to an endpoint. */
export function addressOwner(
  addresses: readonly AddressKey[],
  ttlSeconds: number,
  source = 'built in',
): Owner {
  const claim: Claim = {
    key: '',
    source,
    tier: 'name',
    group: undefined,
    ttlSeconds,
    addresses,
    alone: addressSets([{ addresses, ttlSeconds }]),
    targets: [],
  }
  return compileSets([claim], [claim])
}

/**
 * The sets of all addresses in `parts`. One set has one TTL (RFC 2181 §5.2): the shortest of the
 * parts that contribute to it.
 */
export function addressSets(
  parts: readonly Pick<Claim, 'addresses' | 'ttlSeconds'>[],
): AddressSets {
  const a = familySets(parts, 4)
  const aaaa = familySets(parts, 16)
  return { a, aaaa, addresses: a.length === 0 ? aaaa : aaaa.length === 0 ? a : [...a, ...aaaa] }
}

/** Compiles the claims of one address; undefined where nobody has it. */
export function compilePointers(claims: readonly PointerClaim[]): PointerOwner | undefined {
  const first = [...claims].sort(byRankAndSource)[0]
  if (first === undefined) return undefined
  return { claims, owner: pointerOwner([first.target], first.ttlSeconds), apex: first.apex }
}

/** The same address as podman names it: every name, unqualified. */
export function barePointers(owner: PointerOwner): Owner {
  const rank = Math.min(...owner.claims.map(claim => claim.rank))
  const heard = owner.claims.filter(claim => claim.rank === rank)
  const ttl = Math.min(...heard.map(claim => claim.ttlSeconds))
  return pointerOwner([...new Set(heard.flatMap(claim => claim.bare))], ttl)
}

/** The order of claims must not depend on their history: an update equals a compilation. */
function byRankAndSource(a: PointerClaim, b: PointerClaim): number {
  return a.rank - b.rank || (a.source < b.source ? -1 : a.source > b.source ? 1 : 0)
}

function pointerOwner(targets: readonly WireName[], ttlSeconds: number): Owner {
  return {
    claims: nobody,
    a: nothing,
    aaaa: nothing,
    addresses: nothing,
    ptr: [pointerSet(targets, ttlSeconds)],
    srv: nothing,
    byGroup: undefined,
  }
}

const nobody: readonly Claim[] = []

function compileSets(claims: readonly Claim[], heard: readonly Claim[]): Owner {
  const only = heard.length === 1 ? heard[0] : undefined
  const { a, aaaa, addresses } = only?.alone ?? addressSets(heard)
  const srv = targetSets(heard)
  return { claims, a, aaaa, addresses, ptr: nothing, srv, byGroup: undefined }
}

function targetSets(heard: readonly Claim[]): readonly Rrset[] {
  if (heard.every(claim => claim.targets.length === 0)) return nothing
  const targets = new Map<string, ServiceTarget>()
  for (const claim of heard) {
    for (const target of claim.targets) targets.set(`${target.port} ${target.name}`, target)
  }
  return [serviceSet([...targets.values()])]
}

function familySets(
  parts: readonly Pick<Claim, 'addresses' | 'ttlSeconds'>[],
  bytes: 4 | 16,
): readonly Rrset[] {
  const own = new Set<AddressKey>()
  let ttl = Infinity
  for (const { addresses, ttlSeconds } of parts) {
    for (const address of addresses) {
      if (address.length !== bytes) continue
      own.add(address)
      ttl = Math.min(ttl, ttlSeconds)
    }
  }
  const set = addressSet(own, bytes, ttl)
  return set === undefined ? nothing : [set]
}
