/**
 * Drains replicas: no new connection from the moment that the kernel has it, established ones until
 * they are done or the deadline, then a reset.
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../base/log.js'
import { errorMessage } from '../base/error.js'
import type { Container } from '../catalog/container.js'
import {
  destroyTcp,
  listListeners,
  listTcpConnections,
  type TcpConnection,
  type TcpState,
} from '../kernel/sock-diag.js'
import { balanceOf, findService, serviceKeyOf } from '../plan/serving.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'
import type { Drainer } from './supervisor.js'

export interface DrainerOptions {
  readonly state: State
  readonly sandboxes: Sandboxes
  /** Resolves when the kernel sends connections as the catalog says now. */
  readonly committed: () => Promise<void>
  readonly logger: Logger
}

export interface DrainResult {
  /** Connections that the deadline ended. */
  readonly reset: number
}

/** How often connections are counted: soon at first, for most are short. */
const pollMs = { first: 20, longest: 250 } as const
/** States in which one side may still have something to say. */
const living = new Set<TcpState>([
  'established',
  'syn-received',
  'fin-wait-1',
  'fin-wait-2',
  'close-wait',
])

export class ConnectionDrainer implements Drainer {
  readonly #options: DrainerOptions

  constructor(options: DrainerOptions) {
    this.#options = options
  }

  termsOf(container: Container): { readonly drainMs: number; readonly isSignalFirst: boolean } {
    const { project = '', service = '' } = container
    const balance = balanceOf(findService(this.#options.state.snapshot, project, service))
    return {
      drainMs: isDrainable(container) ? balance.drainMs : 0,
      isSignalFirst: balance.stopSignalOrder === 'first',
    }
  }

  async leave(container: Container, deadlineMs: number, isOver: () => boolean): Promise<void> {
    await this.#options.committed()
    const { isSignalFirst } = this.termsOf(container)
    if (!isSignalFirst) await this.wait(container, deadlineMs, isOver)
  }

  /** Waits for established connections, then resets what is left. */
  async wait(
    container: Container,
    deadlineMs: number,
    isOver: () => boolean,
    onCount: (connections: number) => void = () => undefined,
  ): Promise<DrainResult> {
    const deadline = performance.now() + deadlineMs
    let last = -1
    for (let pause: number = pollMs.first; !isOver(); pause = Math.min(pause * 2, pollMs.longest)) {
      const connections = this.connectionsOf(container)
      if (connections.length === 0) return { reset: 0 }
      if (connections.length !== last) onCount((last = connections.length))
      const left = deadline - performance.now()
      if (left <= 0) return { reset: this.#reset(container, connections) }
      await delay(Math.min(pause, left))
    }
    return { reset: 0 }
  }

  /** Established connections that others made to this replica. */
  connectionsOf(container: Container): readonly TcpConnection[] {
    const { sandboxes } = this.#options
    return sandboxes.runIn(container, () => {
      const ports = new Set(
        listListeners().flatMap(({ protocol, port }) => (protocol === 'tcp' ? [port] : [])),
      )
      return listTcpConnections().filter(
        ({ state, localPort, localAddress, remoteAddress }) =>
          living.has(state) && ports.has(localPort) && !isOwn(localAddress, remoteAddress),
      )
    })
  }

  #reset(container: Container, connections: readonly TcpConnection[]): number {
    const { sandboxes, logger } = this.#options
    try {
      return sandboxes.runIn(container, () => connections.filter(one => destroyTcp(one)).length)
    } catch (error) {
      // They end with the program, then.
      logger.warn({ container: container.name }, `Cannot reset connections: ${errorMessage(error)}`)
      return 0
    }
  }
}

/** Whether the connections in its network stack are its own, and whether anybody sends it some. */
export function isDrainable(container: Container): boolean {
  const hasOwnStack =
    container.spec.networkMode.kind === 'networks' && container.sandboxOf === undefined
  return hasOwnStack && serviceKeyOf(container) !== undefined
}

/** A replica's healthcheck that asks itself is nobody's connection. */
function isOwn(localAddress: string, remoteAddress: string): boolean {
  return localAddress === remoteAddress || remoteAddress.startsWith('127.')
}
