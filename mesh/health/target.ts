/** Where a probe goes: an address, and the network stack from which it is asked. */

import { isIP, Socket } from 'node:net'
import type { Family } from '../../src/base/ip.js'
import { HealthError } from './error.js'

/**
 * Makes a TCP socket that is not connected, in the network stack to probe from, such as the replica's
 * own. May throw where that stack is gone.
 */
export type SocketFactory = (family: Family) => Socket

export interface ProbeTarget {
  /** IPv4 or IPv6. */
  readonly address: string
  /** Default: sockets of this process's own network stack. */
  readonly createSocket?: SocketFactory
}

/** Sockets of this process's own network stack. */
export const hostSockets: SocketFactory = () => new Socket()

/** Throws HealthError `HEALTH_BAD_PROBE` where nothing can be connected to. */
export function checkTarget({ address }: ProbeTarget, port: number): void {
  if (isIP(address) !== 0 && Number.isInteger(port) && port >= 1 && port <= 65_535) return
  throw new HealthError(
    'HEALTH_BAD_PROBE',
    `Cannot probe "${address}" port ${port}: give the IP address of the replica and a port from 1 to 65535`,
  )
}

/**
 * A connection to the target, which is the caller's to close. Rejects with what the system said, or
 * when the signal ends; nothing is left open then.
 */
export function connectTo(target: ProbeTarget, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const family = isIP(target.address) === 6 ? 6 : 4
    const socket = (target.createSocket ?? hostSockets)(family)
    const onAbort = (): void => {
      socket.destroy()
      reject(new Error('cancelled'))
    }
    // Stays: what goes wrong after the result is known is nobody's business, and must not throw.
    socket.on('error', reject)
    socket.once('connect', () => {
      signal.removeEventListener('abort', onAbort)
      resolve(socket)
    })
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) return onAbort()
    socket.connect({ host: target.address, port, family })
  })
}
