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
  /** Takes no new connections, by command; undone by command. */
  readonly draining?: Draining
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

/** Established connections go on until the deadline, then they are reset. */
export interface Draining {
  /** ISO 8601. */
  readonly since: string
  /** ISO 8601. */
  readonly deadline: string
}

/** Whether a replica takes connections, apart from whether it lives. */
export interface Readiness {
  readonly isReady: boolean
  /** Why, for people: `nothing listens on port 80`. */
  readonly reason: string
  /** ISO 8601. */
  readonly since: string
}

/** Observed: follows the process; durable soon after, and checked against the kernel on a restart. */
export interface ContainerStatus {
  readonly id: string
  /** `stopping`: out of DNS already, its process still ends. */
  readonly state: 'created' | 'running' | 'stopping' | 'restarting' | 'exited'
  readonly health: Health
  /** A replica with a healthcheck is out of DNS until its first `healthy`. */
  readonly hasBeenHealthy: boolean
  /** What its probe says; absent: it has none, and is ready while it runs. */
  readonly readiness?: Readiness
  readonly process?: ProcessIdentity
  readonly exitCode?: number
  /** Why it could not start. */
  readonly failure?: string
  /** `stopping`: until when its connections may go on; ISO 8601. */
  readonly drainUntil?: string
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
