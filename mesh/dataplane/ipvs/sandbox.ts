/**
 * The namespace that IPVS balances in, with its links, addresses, routes and settings: made, adopted
 * from an earlier process, mended, removed. What connections live by is in it and nowhere else, so it
 * is held by a file (src/kernel/pin.ts) and outlives the daemon, however that ends.
 */

import { closeNetns, createNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'
import { isPinnedTo, openPinned, pinNetns, unpinNetns } from '../../../src/kernel/pin.js'
import { writeSysctl } from '../../../src/kernel/sysctl.js'
import type { IngressPlace } from '../../state.js'
import { hostSettings, ingressSettings } from './settings.js'
import { chooseTransit, type Transit } from './transit.js'
import { addAlias, readOccupied, removeWiring, settleWiring } from './wiring.js'

export class IngressSandbox {
  readonly netns: Netns
  readonly transit: Transit
  readonly #host: Netns
  readonly #place: IngressPlace
  readonly #nsPath: string

  /** Adopts what is held at `nsPath`, or makes it. Throws KernelError, MeshError `MESH_NO_DATAPLANE`. */
  static open(host: Netns, place: IngressPlace, nsPath: string): IngressSandbox {
    const occupied = runInNetns(host, () => readOccupied(place))
    const transit: Transit = {
      ...(place.ipvs.ipv4 === undefined ? {} : { 4: chooseTransit(place.ipvsLink, 4, occupied) }),
      ...(place.ipvs.ipv6 === undefined ? {} : { 6: chooseTransit(place.ipvsLink, 6, occupied) }),
    }
    const netns = openPinned(nsPath) ?? createNetns()
    return new IngressSandbox(host, place, nsPath, netns, transit)
  }

  private constructor(
    host: Netns,
    place: IngressPlace,
    nsPath: string,
    netns: Netns,
    transit: Transit,
  ) {
    this.#host = host
    this.#place = place
    this.#nsPath = nsPath
    this.netns = netns
    this.transit = transit
  }

  /** Mends what differs and returns how much did. `aliases`: further addresses of the host's link. */
  settle(aliases: Iterable<string>): number {
    let differences = 0
    if (!isPinnedTo(this.netns, this.#nsPath)) {
      pinNetns(this.netns, this.#nsPath)
      differences++
    }
    const { transit } = this
    const place = this.#place
    differences += settleWiring(this.#host, this.netns, { place, transit, aliases })
    const settings = ingressSettings(transit[6] !== undefined)
    differences += runInNetns(this.netns, () => writeSettings(settings))
    return differences + runInNetns(this.#host, () => writeSettings(hostSettings(place.ipvsLink)))
  }

  addAlias(alias: string): void {
    runInNetns(this.netns, () => addAlias(alias))
  }

  /** Lets go; the namespace stays. */
  close(): void {
    closeNetns(this.netns)
  }

  /** Ends it with everything in it. */
  static remove(host: Netns, place: Pick<IngressPlace, 'ipvsLink'>, nsPath: string): void {
    runInNetns(host, () => removeWiring(place))
    unpinNetns(nsPath)
  }
}

function writeSettings(settings: readonly (readonly [string, string])[]): number {
  return settings.filter(([key, value]) => writeSysctl(key, value)).length
}
