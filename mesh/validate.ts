/** Says where a desired state contradicts itself, before any dataplane sees it. Pure. */

import { isIP } from 'node:net'
import { MeshError } from './error.js'
import type { Destination, MeshState, PublishedPort, VirtualService } from './state.js'

const MAX_MARK = 0xfffff
const MAX_WEIGHT = 65_535

/** What was found good before, and the keys of all that differs from it. */
export interface ValidBefore {
  readonly state: MeshState
  readonly changed: Iterable<string>
}

/**
 * Throws MeshError `MESH_BAD_SERVICE` for the first contradiction. With `before`, one change among
 * thousands of services costs as little as among few.
 */
export function validateState(state: MeshState, before?: ValidBefore): void {
  const marks = new Map<number, VirtualService>()
  for (const key of before?.changed ?? state.keys()) {
    const service = state.get(key)
    if (service === undefined) continue
    const why = contradictionOf(service) ?? badKey(key, service)
    if (why !== undefined) throw refusal(service, why)
    if (before?.state.get(key)?.mark !== service.mark) marks.set(service.mark, service)
  }
  if (marks.size > 0) validateMarks(state, marks)
}

/** `marks`: those that were not there before. */
function validateMarks(state: MeshState, marks: ReadonlyMap<number, VirtualService>): void {
  for (const other of state.values()) {
    const service = marks.get(other.mark)
    if (service === undefined || service === other) continue
    throw refusal(service, `has mark ${service.mark}, which is that of "${other.name}"`)
  }
}

function refusal({ name }: VirtualService, why: string): MeshError {
  return new MeshError('MESH_BAD_SERVICE', `Service "${name}" ${why}`)
}

function contradictionOf(service: VirtualService): string | undefined {
  const { mark, ports, destinations, affinity } = service
  if (!isWithin(mark, MAX_MARK)) return `has mark ${mark}; marks are 1 to ${MAX_MARK}`
  if (affinity.kind === 'client-ip' && !(affinity.timeoutSeconds > 0)) {
    return `has an affinity of ${affinity.timeoutSeconds} s; give it a time above zero`
  }
  const ids = new Set(destinations.map(({ id }) => id))
  if (ids.size < destinations.length) return 'lists a destination twice'
  for (const published of ports) {
    const why = badPort(published)
    if (why !== undefined) return why
  }
  for (const destination of destinations) {
    const why = badDestination(destination)
    if (why !== undefined) return why
  }
  return undefined
}

function badKey(key: string, service: VirtualService): string | undefined {
  return key === service.key ? undefined : `is listed as "${key}" and calls itself "${service.key}"`
}

function badPort({ first, last, address }: PublishedPort): string | undefined {
  if (!isWithin(first, 65_535) || !isWithin(last, 65_535) || last < first) {
    return `publishes ports ${first} to ${last}; ports are 1 to 65535, the lower one first`
  }
  if (address === undefined || isIP(address) !== 0) return undefined
  return `publishes a port on "${address}", which is no address`
}

function badDestination(destination: Destination): string | undefined {
  const { id, ipv4, ipv6, weight, port } = destination
  if (ipv4 === undefined && ipv6 === undefined) return `has destination "${id}" without an address`
  if (ipv4 !== undefined && isIP(ipv4) !== 4) return `has "${ipv4}" for IPv4 of "${id}"`
  if (ipv6 !== undefined && isIP(ipv6) !== 6) return `has "${ipv6}" for IPv6 of "${id}"`
  if (!isWithin(weight, MAX_WEIGHT)) {
    return `gives "${id}" weight ${weight}; weights are 1 to ${MAX_WEIGHT}, and who gets nothing is not listed`
  }
  if (port !== undefined && !isWithin(port, 65_535)) return `has port ${port} for "${id}"`
  return undefined
}

function isWithin(value: number, maximum: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= maximum
}
