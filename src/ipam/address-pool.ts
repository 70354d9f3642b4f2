/**
 * The addresses of one subnet: who has which, and which comes next.
 *
 * It is built from the leases that are known (the endpoints of the catalog), so that nothing can
 * leak: what no endpoint has is free. Order: addresses that were not handed out in this lap, counting
 * up from the cursor; when the lap is over, those that were released, longest ago first. So an address
 * just released is not handed out while any other is free, and each lease costs constant time,
 * amortised, whatever the size of the subnet.
 */

import {
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  prefixContains,
} from '../base/ip.js'
import { IpError } from '../base/ip.js'
import type { Address, Prefix } from '../base/ip.js'
import { IpamError } from './error.js'
import type { IpamErrorCode } from './error.js'
import { describeReserved, leasableRange } from './range.js'
import type { AddressRange } from './range.js'

/** An address and who has it. `address` with or without prefix length. */
export interface KnownLease {
  readonly address: string
  /** For messages: the container's name. */
  readonly owner: string
}

/** What outlives a restart, as JSON: where the lap stands, and what was released lately. */
export interface AddressPoolState {
  readonly cursor?: string
  /** Longest ago first. */
  readonly released: readonly string[]
}

export interface AddressPoolOptions {
  /** The network's name, for messages. */
  readonly network: string
  readonly subnet: string
  readonly gateway?: string
  readonly ipRange?: string
  readonly auxAddresses?: Readonly<Record<string, string>>
  /** Those outside the subnet are passed over: every pool of a network can be given all of them. */
  readonly leases?: Iterable<KnownLease>
  /** As `state()` gave it; addresses that do not fit are passed over. */
  readonly state?: AddressPoolState
}

/**
 * How many released addresses `state()` remembers. A restart between a release and the next lease is
 * rare and the record is written with every change, so it stays small.
 */
const REMEMBERED_RELEASES = 64

/** The leases of one subnet. Addresses given out carry the prefix length: `10.0.1.5/24`. */
export class AddressPool {
  readonly #network: string
  readonly #subnet: Prefix
  readonly #rangePrefix: Prefix
  readonly #range: AddressRange
  /** The network's own, with what each is: never leased. */
  readonly #kept = new Map<bigint, string>()
  readonly #leases = new Map<bigint, string>()
  /** In order of release. Every free address of the range that the lap has passed is here. */
  readonly #released = new Set<bigint>()
  /** Stands at the oldest release. Kept, for a new one would step over all that was removed. */
  #oldest = this.#released.values()
  /** The value that the lap looks at next. */
  #next: bigint
  /** How many addresses the lap has still to look at. */
  #left: bigint
  readonly #capacity: bigint
  #leasedInRange = 0n

  constructor(options: AddressPoolOptions) {
    this.#network = options.network
    this.#subnet = parsePrefix(options.subnet)
    this.#rangePrefix = parsePrefix(options.ipRange ?? options.subnet)
    this.#range = leasableRange(this.#subnet, this.#rangePrefix)
    for (const [name, address] of Object.entries(options.auxAddresses ?? {})) {
      this.#kept.set(parseAddress(address).value, `the auxiliary address "${name}"`)
    }
    if (options.gateway !== undefined) {
      this.#kept.set(parseAddress(options.gateway).value, 'the gateway')
    }
    const keptInRange = [...this.#kept.keys()].filter(value => this.#isInRange(value)).length
    const size = this.#range.last - this.#range.first + 1n
    this.#left = size > 0n ? size : 0n
    this.#capacity = this.#left - BigInt(keptInRange)
    this.#next = this.#range.first
    for (const lease of options.leases ?? []) this.#adopt(lease)
    if (options.state !== undefined) this.#restore(options.state)
  }

  /** How many addresses of the range can be leased in all: without the network's own. */
  get capacity(): bigint {
    return this.#capacity
  }

  /** How many are leased, static ones outside the range included. */
  get leased(): number {
    return this.#leases.size
  }

  /** Who has `address`: an owner as given. Undefined where it is free or the network's own. */
  ownerOf(address: string): string | undefined {
    return this.#leases.get(this.#parse(address).value)
  }

  /** True where `address` is in the subnet. Throws IpamError `IPAM_BAD_ADDRESS`. */
  contains(address: string): boolean {
    return prefixContains(this.#subnet, this.#parse(address))
  }

  /** Leases the next address to `owner`. Throws IpamError `IPAM_POOL_EXHAUSTED`. */
  lease(owner: string): string {
    if (this.#leasedInRange < this.#capacity) {
      const value = this.#takeFresh() ?? this.#takeReleased()
      if (value !== undefined) return this.#put(value, owner)
    }
    throw new IpamError(
      'IPAM_POOL_EXHAUSTED',
      `Cannot lease an address on network "${this.#network}": all ${this.#capacity} addresses of ` +
        `${formatPrefix(this.#rangePrefix)} are leased; add a subnet or remove stopped containers`,
    )
  }

  /**
   * Leases just this address, with or without prefix length, inside the range or not. Throws IpamError
   * `IPAM_BAD_ADDRESS`, `IPAM_ADDRESS_OUTSIDE`, `IPAM_ADDRESS_IN_USE`.
   */
  leaseStatic(address: string, owner: string): string {
    const parsed = this.#parse(address)
    if (!prefixContains(this.#subnet, parsed)) {
      const subnet = formatPrefix(this.#subnet)
      throw this.#refusal('IPAM_ADDRESS_OUTSIDE', parsed, `it is not in subnet ${subnet}`)
    }
    const own = this.#kept.get(parsed.value) ?? describeReserved(this.#subnet, parsed)
    if (own !== undefined) throw this.#refusal('IPAM_ADDRESS_IN_USE', parsed, `it is ${own}`)
    const holder = this.#leases.get(parsed.value)
    if (holder !== undefined) {
      const why = `"${holder}" has it; choose another or leave the choice to the network`
      throw this.#refusal('IPAM_ADDRESS_IN_USE', parsed, why)
    }
    this.#released.delete(parsed.value)
    return this.#put(parsed.value, owner)
  }

  /** Frees an address, with or without prefix length. One that is not leased stays as it is. */
  release(address: string): void {
    const { value } = this.#parse(address)
    if (!this.#leases.delete(value) || !this.#isInRange(value)) return
    this.#leasedInRange--
    this.#released.add(value)
  }

  /** What to keep across a restart. */
  state(): AddressPoolState {
    const released = [...this.#released].slice(-REMEMBERED_RELEASES).map(value => this.#text(value))
    return this.#left === 0n ? { released } : { cursor: this.#text(this.#next), released }
  }

  /** The next address that this lap has not seen, or undefined when the lap is over. */
  #takeFresh(): bigint | undefined {
    while (this.#left > 0n) {
      const value = this.#next
      this.#next = value === this.#range.last ? this.#range.first : value + 1n
      this.#left--
      if (!this.#kept.has(value) && !this.#leases.has(value) && !this.#released.has(value)) {
        return value
      }
    }
    return undefined
  }

  #takeReleased(): bigint | undefined {
    let { done, value } = this.#oldest.next()
    if (done === true) {
      // At its end once, an iterator stays there, whatever was released since.
      this.#oldest = this.#released.values()
      value = this.#oldest.next().value
    }
    if (value !== undefined) this.#released.delete(value)
    return value
  }

  #put(value: bigint, owner: string): string {
    this.#leases.set(value, owner)
    if (this.#isInRange(value)) this.#leasedInRange++
    return `${this.#text(value)}/${this.#subnet.length}`
  }

  #adopt({ address, owner }: KnownLease): void {
    const parsed = this.#parse(address)
    if (!prefixContains(this.#subnet, parsed)) return
    const holder = this.#leases.get(parsed.value)
    if (holder !== undefined) {
      throw this.#refusal('IPAM_ADDRESS_IN_USE', parsed, `both "${holder}" and "${owner}" have it`)
    }
    this.#put(parsed.value, owner)
  }

  #restore(state: AddressPoolState): void {
    const known = [...state.released, ...(state.cursor === undefined ? [] : [state.cursor])]
    if (known.some(address => !this.contains(address))) return
    for (const address of state.released) {
      const { value } = this.#parse(address)
      const isFree = !this.#leases.has(value) && !this.#kept.has(value)
      if (isFree && this.#isInRange(value)) this.#released.add(value)
    }
    // Without a cursor the lap was over: a new one finds what the list has forgotten.
    const cursor = state.cursor === undefined ? undefined : this.#parse(state.cursor).value
    if (cursor !== undefined && this.#isInRange(cursor)) this.#next = cursor
  }

  #isInRange(value: bigint): boolean {
    return value >= this.#range.first && value <= this.#range.last
  }

  #parse(address: string): Address {
    const slash = address.indexOf('/')
    try {
      return parseAddress(slash === -1 ? address : address.slice(0, slash))
    } catch (cause) {
      if (!(cause instanceof IpError)) throw cause
      const message = `Cannot lease "${address}" on network "${this.#network}": it is not an address`
      throw new IpamError('IPAM_BAD_ADDRESS', message, { cause })
    }
  }

  #refusal(code: IpamErrorCode, address: Address, why: string): IpamError {
    const message = `Cannot lease ${formatAddress(address)} on network "${this.#network}": ${why}`
    return new IpamError(code, message)
  }

  #text(value: bigint): string {
    return formatAddress({ family: this.#subnet.family, value })
  }
}
