/** A container: one replica, what it runs, where it is attached; and, apart, what was seen of it. */

import type { Endpoint } from './endpoint.js'
import type { Attachment, ContainerSpec, PortSpec } from './service.js'

/** What somebody wants of a container. `removed` is a removal under way, finished after a crash. */
export type DesiredState = 'running' | 'stopped' | 'removed'

/** Declared: changes only by a command, and is durable before the command is acknowledged. */
export interface Container {
  /** 64 hexadecimal digits; the first 12 are a DNS name of last resort. */
  readonly id: string
  readonly name: string
  readonly project?: string
  readonly service?: string
  /** Replica number from 1 within its service. */
  readonly number: number
  readonly spec: ContainerSpec
  readonly attachments: readonly Attachment[]
  readonly ports: readonly PortSpec[]
  /** Of `spec`, `attachments` and `ports`: a replica whose digest differs from its service's is replaced. */
  readonly digest: string
  readonly endpoints: readonly Endpoint[]
  /** The container whose sandbox this one shares (`container:X`, `service:X`), by id. */
  readonly sandboxOf?: string
  readonly desired: DesiredState
  /** ISO 8601. */
  readonly createdAt: string
}

export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy'

/** A container's processes as the kernel tells them apart from later ones with the same pids. */
export interface ProcessIdentity {
  /** The container's name when it started, for messages. */
  readonly name: string
  /** Where its exit code is written. */
  readonly runDir: string
  /** PID 1 of the container, as the host numbers it. Its end is the end of the container. */
  readonly initPid: number
  /** The command itself, as the host numbers it; signals go here. */
  readonly appPid?: number
  /** Field 22 of /proc/PID/stat of `initPid`, in clock ticks since boot. */
  readonly startTime: number
  /** Of /proc/sys/kernel/random/boot_id: pids of an earlier boot mean nothing. */
  readonly bootId: string
}

/** Observed: follows the process; durable soon after, and checked against the kernel on a restart. */
export interface ContainerStatus {
  readonly id: string
  /** `stopping`: out of DNS already, its process still ends. */
  readonly state: 'created' | 'running' | 'stopping' | 'restarting' | 'exited'
  readonly health: Health
  /** A replica with a healthcheck is out of DNS until its first `healthy`. */
  readonly hasBeenHealthy: boolean
  readonly process?: ProcessIdentity
  readonly exitCode?: number
  /** Why it could not start. */
  readonly failure?: string
  readonly restartCount: number
  readonly startedAt?: string
  readonly finishedAt?: string
}

/** A container that was declared and never started. */
export function initialStatus(id: string, hasHealthcheck: boolean): ContainerStatus {
  return {
    id,
    state: 'created',
    health: hasHealthcheck ? 'starting' : 'none',
    hasBeenHealthy: false,
    restartCount: 0,
  }
}
