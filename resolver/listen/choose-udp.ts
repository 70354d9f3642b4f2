/**
 * Chooses the UDP listener of a process: batched where recvmmsg can be called, else portable. Says
 * why, so that a status page can.
 */

import { openBatchUdp } from './batch-udp.js'
import { openDatagramUdp } from './datagram-udp.js'
import { loadLibc } from './libc.js'
import { PollerError, openPoller } from './poller.js'
import { openUdpSocket, raiseReceiveBuffer } from './socket.js'
import type { Answering, Engine, Listener } from './listener.js'
import type { Libc } from './libc.js'
import type { Poller } from './poller.js'
import type { DatagramTarget } from './datagram-udp.js'

/** `batched`: recvmmsg through koffi. `portable`: node:dgram. */
export type UdpKind = 'batched' | 'portable'

/** Where to listen: a bound descriptor, which the listener owns and closes, or an address. */
export type UdpTarget = DatagramTarget

export interface UdpChoice {
  readonly kind: UdpKind
  /** Why it is not the batched one, where it is not. */
  readonly reason: string | undefined
  /** Starts to answer. Rejects with ListenError. */
  open(target: UdpTarget, answering: Answering, engine: Engine): Promise<Listener>
  close(): Promise<void>
}

export interface UdpChoiceOptions {
  readonly kind?: UdpKind | undefined
  readonly poller?: Poller | undefined
  readonly onError: (error: unknown) => void
}

/** Chooses; throws PollerError `POLLER_UNAVAILABLE` where `batched` is wanted and cannot be had. */
export function chooseUdp(options: UdpChoiceOptions): UdpChoice {
  const libc = loadLibc()
  if (options.kind === 'portable') return portable('asked for')
  if (typeof libc !== 'string') {
    const poller = options.poller ?? openPoller(options.onError)
    return batched(libc, poller, options.poller === undefined)
  }
  if (options.kind === undefined) return portable(libc)
  throw new PollerError('POLLER_UNAVAILABLE', `Cannot batch packets: ${libc}`)
}

function portable(reason: string): UdpChoice {
  return {
    kind: 'portable',
    reason,
    open: (target, answering, engine) => openDatagramUdp({ target, answering, engine }),
    close: () => Promise.resolve(),
  }
}

function batched(libc: Libc, poller: Poller, isOurs: boolean): UdpChoice {
  return {
    kind: 'batched',
    reason: undefined,
    open: (target, answering, engine) => openBatched(libc, poller, target, answering, engine),
    close: () => (isOurs ? poller.close() : Promise.resolve()),
  }
}

// async: what it throws becomes a rejection, as with the portable listener.
async function openBatched(
  libc: Libc,
  poller: Poller,
  target: UdpTarget,
  answering: Answering,
  engine: Engine,
): Promise<Listener> {
  const fd = 'fd' in target ? target.fd : openUdpSocket(libc, target.address, target.port)
  try {
    raiseReceiveBuffer(libc, fd)
    return openBatchUdp({ fd, answering, engine, poller, libc })
  } catch (error) {
    libc.close(fd)
    throw error
  }
}
