/** A userspace dataplane on loopback, servers behind it, and clients that say what became of them. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { UserspaceDataplane } from '../../../../mesh/dataplane/userspace/userspace.js'
import { errorCode } from '../../../../src/base/error.js'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { UserspaceOptions } from '../../../../mesh/dataplane/userspace/userspace.js'
import type { Destination, MeshState, VirtualService } from '../../../../mesh/state.js'

/** Removed with the test; its socket handlers must not throw. */
export function openPlane(t: Test, options: UserspaceOptions = {}): UserspaceDataplane {
  const onError = (error: unknown): void => void t.fail('a socket handler threw', { error })
  const plane = new UserspaceDataplane({ onError, ...options })
  t.teardown(() => plane.remove())
  return plane
}

export function serviceOf(change: Partial<VirtualService> & { port: number }): VirtualService {
  const { port, ...rest } = change
  return {
    ...{ key: 'web', name: 'shop/web', mark: 1, scheduler: 'rr', affinity: { kind: 'none' } },
    ports: [{ protocol: 'tcp', first: port, last: port }],
    destinations: [],
    ...rest,
  }
}

export function destinationOf(id: string, port: number, change: Partial<Destination> = {}) {
  return { id, ipv4: '127.0.0.1', weight: 1, port, ownAddresses: [], ...change }
}

export function stateOf(...services: VirtualService[]): MeshState {
  return new Map(services.map(service => [service.key, service]))
}

/** A port that nobody has, of TCP and UDP and both families. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::')
  await once(server, 'listening')
  const port = portOf(server.address())
  server.close()
  await once(server, 'close')
  return port
}

/** A TCP server for the length of the test; returns its port. */
export async function serveTcp(
  t: Test,
  onConnection: (socket: Socket) => void,
  host = '127.0.0.1',
): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return portOf(server.address())
}

/** Says `name` to everybody and hangs up. */
export const named = (name: string) => (socket: Socket) => void socket.end(name)

export const echo = (socket: Socket): void => void socket.pipe(socket)

/** Everything that a server says to a new connection, or the code of what went wrong. */
export async function askTcp(port: number, host = '127.0.0.1', localAddress?: string) {
  const options = { port, host, ...(localAddress === undefined ? {} : { localAddress }) }
  const socket = connect(options)
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => (text += part))
  try {
    await once(socket, 'close', { signal: AbortSignal.timeout(5000) })
    return text
  } catch (error) {
    return errorCode(error) ?? 'no code'
  } finally {
    socket.destroy()
  }
}

export async function dial(t: Test, port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect', { signal: AbortSignal.timeout(5000) })
  socket.on('error', () => undefined)
  return socket
}

/** A UDP server that answers `reply(text)`; undefined stays silent. Returns its port. */
export async function serveUdp(
  t: Test,
  reply: (text: string, port: number) => string | undefined,
  host = '127.0.0.1',
): Promise<number> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', (bytes, peer) => {
    const text = reply(bytes.toString('latin1'), peer.port)
    if (text !== undefined) socket.send(text, peer.port, peer.address)
  })
  socket.bind(0, host)
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  return socket.address().port
}

export interface UdpClient {
  /** The reply and where it came from, or the code of what went wrong, or `silence`. */
  ask(text: string): Promise<string>
}

/** One client socket, connected: a reply from elsewhere does not arrive. */
export async function udpClient(
  t: Test,
  port: number,
  host = '127.0.0.1',
  waitMs = 3000,
): Promise<UdpClient> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  t.teardown(() => socket.close())
  socket.connect(port, host)
  await once(socket, 'connect')
  return {
    async ask(text) {
      socket.send(text)
      try {
        const [bytes] = await once(socket, 'message', { signal: AbortSignal.timeout(waitMs) })
        return String(bytes)
      } catch (error) {
        const code = errorCode(error)
        return code === undefined || code === 'ABORT_ERR' ? 'silence' : code
      }
    },
  }
}

/** Waits until `isTrue`, five seconds at most. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<boolean> {
  for (const end = performance.now() + 5000; performance.now() < end;) {
    if (await isTrue()) return true
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  return isTrue()
}

function portOf(address: ReturnType<ReturnType<typeof createServer>['address']>): number {
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
