/** What a service was given when it was declared: its number, its virtual addresses, its ports. */

import type { PortSpec } from './service.js'

/** A port that clients of the node reach. */
export interface AllocatedPort extends PortSpec {
  readonly published: number
  readonly isPublished: true
  /** `host` mode: the number of the replica that answers there. */
  readonly replica?: number
  /** `host` mode: by which the kernel knows this port's only destination. */
  readonly mark?: number
}

/** With prefix length, as IPAM gave them. */
export interface Vip {
  readonly ipv4?: string
  readonly ipv6?: string
}

/** Declared, durable, and kept as it is while the service is there. */
export interface Allocation {
  /** `allocationKey(project, service)`. */
  readonly key: string
  readonly project: string
  readonly service: string
  /** 1 to 0xfffff: by which the kernel knows the service. Unique on this node. */
  readonly mark: number
  /** By network id; none where the service answers by DNS round robin. */
  readonly vips: Readonly<Record<string, Vip>>
  readonly ports: readonly AllocatedPort[]
}

export function allocationKey(project: string, service: string): string {
  return `${project}/${service}`
}
