/** An endpoint: one sandbox's attachment to one network. */

export interface Endpoint {
  /** 64 hexadecimal digits. */
  readonly id: string
  readonly networkId: string
  readonly containerId: string
  /** Names beside the container's own, as declared; `*.x` is a wildcard. */
  readonly aliases: readonly string[]
  /** With prefix length, `10.0.1.5/24`. */
  readonly ipv4?: string
  /** With prefix length, `fd00::5/64`. */
  readonly ipv6?: string
  /** Whether the user chose the address, so that it is kept across a re-creation. */
  readonly isStatic: boolean
  /** `02:..`, derived from the address as Docker does, so that neighbours' caches stay true. */
  readonly mac: string
  /** `eth0`: the interface inside the sandbox. */
  readonly interfaceName: string
  /** The endpoint with the highest one carries the default route. */
  readonly gatewayPriority: number
}
