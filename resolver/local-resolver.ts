/**
 * A resolver on one address for one audience, made of plain data: what `Resolver.open` gives. The
 * sockets and answers are the Resolver's; this holds the networks between updates.
 */

import { OptionError, checkZone, compileNetwork, composeLocalView } from './open-options.js'
import { updateZone } from './zone.js'
import type { Explanation } from './explain.js'
import type { LocalNames } from './open-options.js'
import type { Resolver, ResolverStatus } from './resolver.js'
import type { View } from './view.js'
import type { NetworkNames, NetworkZone, ZoneChange } from './zone.js'

/** The id of the one sandbox of a local resolver. */
export const LOCAL_ID = 'local'

/** What a local resolver answers from; compiled anew only where the plain data changed. */
export class LocalZones {
  #names: LocalNames
  #zones: readonly NetworkZone[]
  /** Compiled networks by the object they came from. */
  #compiled = new Map<NetworkNames, NetworkZone>()

  /** Throws OptionError. */
  constructor(names: LocalNames) {
    this.#names = names
    this.#zones = this.#compile(names.networks ?? [])
  }

  view(): View {
    return composeLocalView(this.#zones, this.#names)
  }

  replace(names: LocalNames): View {
    const next = { ...this.#names, ...names }
    const zones = names.networks === undefined ? this.#zones : this.#compile(names.networks)
    const view = composeLocalView(zones, next)
    this.#names = next
    this.#zones = zones
    return view
  }

  change(network: string, change: ZoneChange): View {
    if (!this.#zones.some(zone => zone.name === network)) {
      const known = this.#zones.map(zone => `"${zone.name}"`).join(', ') || 'none'
      throw new OptionError(
        'OPTION_BAD_NETWORK',
        `Cannot change network "${network}": the networks here are ${known}`,
      )
    }
    const zones = this.#zones.map(zone => {
      if (zone.name !== network) return zone
      const next = updateZone(zone, change)
      checkZone(next)
      return next
    })
    const view = composeLocalView(zones, this.#names)
    this.#zones = zones
    // What was compiled is no longer what the caller's objects say.
    this.#compiled.clear()
    return view
  }

  #compile(networks: readonly NetworkNames[]): readonly NetworkZone[] {
    const compiled = new Map<NetworkNames, NetworkZone>()
    for (const names of networks) {
      compiled.set(names, this.#compiled.get(names) ?? compileNetwork(names))
    }
    this.#compiled = compiled
    return [...compiled.values()]
  }
}

export class LocalResolver {
  /** Where it listens, UDP and TCP. */
  readonly address: string
  readonly port: number
  readonly #resolver: Resolver
  readonly #zones: LocalZones

  constructor(resolver: Resolver, zones: LocalZones, place: { address: string; port: number }) {
    this.#resolver = resolver
    this.#zones = zones
    this.address = place.address
    this.port = place.port
  }

  /**
   * Replaces what is given and keeps the rest; the next query sees it. Networks that are the same
   * objects as before are not compiled again. Throws OptionError, and then nothing has changed.
   */
  update(names: LocalNames): void {
    this.#resolver.setView(LOCAL_ID, this.#zones.replace(names))
  }

  /** Changes some endpoints or services of the network called `network`. Throws OptionError. */
  change(network: string, change: ZoneChange): void {
    this.#resolver.setView(LOCAL_ID, this.#zones.change(network, change))
  }

  /** Why a question is answered as it is; `type` is text such as `AAAA`, or a number. */
  explain(name: string, type: string | number = 'A'): Explanation {
    return this.#resolver.explain(LOCAL_ID, name, type)
  }

  status(): ResolverStatus {
    return this.#resolver.status()
  }

  flushCache(): void {
    this.#resolver.flushCache()
  }

  /** Stops listening and forwarding. */
  close(): Promise<void> {
    return this.#resolver.close()
  }
}
