/** Packets from inside a container: bytes to 127.0.0.11:53 by UDP or TCP, and the bytes that come back. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { unboundTcp, unboundUdp } from '../../src/kernel/socket.js'

export const resolverAddress = '127.0.0.11'
const port = 53
/** What stub resolvers wait. */
const defaultTimeoutMs = 5_000

export interface Asked {
  /** Absent: silence. */
  readonly reply?: Buffer
  readonly ms: number
}

/** One packet, one reply; nothing after `timeoutMs`. */
export async function askUdp(
  netns: Netns,
  packet: Buffer,
  timeoutMs = defaultTimeoutMs,
): Promise<Asked> {
  const socket = createSocket('udp4')
  socket.bind({ fd: runInNetns(netns, () => unboundUdp(4)) })
  const startedAt = performance.now()
  const reply = await new Promise<Buffer | undefined>(resolve => {
    const timer = setTimeout(() => resolve(undefined), timeoutMs)
    socket.once('error', () => resolve(undefined))
    socket.once('message', bytes => {
      clearTimeout(timer)
      resolve(bytes)
    })
    socket.send(packet, port, resolverAddress)
  })
  const ms = performance.now() - startedAt
  socket.close()
  return reply === undefined ? { ms } : { reply, ms }
}

/** One query over a connection of its own. */
export async function askTcp(
  netns: Netns,
  packet: Buffer,
  timeoutMs = defaultTimeoutMs,
): Promise<Asked> {
  const startedAt = performance.now()
  const stream = await openStream(netns)
  try {
    stream.write(frame(packet))
    const reply = await stream.next(timeoutMs)
    const ms = performance.now() - startedAt
    return reply === undefined ? { ms } : { reply, ms }
  } finally {
    stream.close()
  }
}

/** The packet behind its length (RFC 1035 §4.2.2). */
export function frame(packet: Buffer): Buffer {
  return Buffer.concat([Buffer.from([packet.length >> 8, packet.length & 0xff]), packet])
}

/** A connection to the resolver, message by message. */
export interface Stream {
  readonly socket: Socket
  /** Raw bytes, framed or not. */
  write(bytes: Buffer): void
  /** The next message; undefined where the stream ended or nothing came in time. */
  next(timeoutMs?: number): Promise<Buffer | undefined>
  /** Resolves when the other side closed. */
  readonly closed: Promise<void>
  close(): void
}

/** Connects from inside a namespace. Rejects where nobody listens. */
export async function openStream(netns: Netns): Promise<Stream> {
  const socket = new Socket({ fd: runInNetns(netns, () => unboundTcp(4)), allowHalfOpen: true })
  const closed = new Promise<void>(resolve => {
    socket.once('end', resolve)
    socket.once('close', () => resolve())
  })
  socket.connect(port, resolverAddress)
  await once(socket, 'connect')
  socket.on('error', () => socket.destroy())
  const messages: Buffer[] = []
  const waiting: ((message: Buffer | undefined) => void)[] = []
  let held = Buffer.alloc(0)
  socket.on('data', chunk => {
    held = Buffer.concat([held, chunk])
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const end = 2 + held.readUInt16BE(0)
      messages.push(held.subarray(2, end))
      held = held.subarray(end)
    }
    while (messages.length > 0 && waiting.length > 0) waiting.shift()?.(messages.shift())
  })
  void closed.then(() => waiting.splice(0).forEach(resolve => resolve(undefined)))
  const next = (timeoutMs = defaultTimeoutMs): Promise<Buffer | undefined> => {
    if (messages.length > 0 || socket.readableEnded) return Promise.resolve(messages.shift())
    return new Promise(resolve => {
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(settle), 1)
        resolve(undefined)
      }, timeoutMs)
      const settle = (message: Buffer | undefined): void => {
        clearTimeout(timer)
        resolve(message)
      }
      waiting.push(settle)
    })
  }
  return {
    socket,
    write: bytes => void socket.write(bytes),
    next,
    closed,
    close: () => socket.destroy(),
  }
}
