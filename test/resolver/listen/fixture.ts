/** Engines, views and clients for the listener tests: 127.0.0.1 only, every wait is bounded. */

import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { Responder } from '../../../resolver/answer.js'
import { newCounters } from '../../../resolver/listen/listener.js'
import { compileView } from '../../../resolver/view.js'
import { compileZone } from '../../../resolver/zone.js'
import type { Socket as UdpSocket } from 'node:dgram'
import type { Socket as TcpSocket } from 'node:net'
import type { Clock, Timer } from '../../../src/base/clock.js'
import type { ForwardPolicy } from '../../../resolver/forward/policy.js'
import type { Answering, Engine } from '../../../resolver/listen/listener.js'
import type { View } from '../../../resolver/view.js'

/** No test waits longer for anything. */
export const PATIENCE_MS = 5000

/** net1 with c2 at `address`, and 45 endpoints that share the alias `many`. */
export function viewOf(address = '10.0.1.3'): View {
  const many = Array.from({ length: 45 }, (_, i) => ({
    id: `m${i}`,
    name: `m${i}`,
    aliases: ['many'],
    addresses: [`10.0.1.${100 + i}`],
  }))
  const zone = compileZone({
    name: 'net1',
    subnets: ['10.0.1.0/24'],
    gateways: ['10.0.1.1'],
    endpoints: [{ id: 'c2', name: 'c2', addresses: [address] }, ...many],
  })
  const forwarding: ForwardPolicy = { upstreams: [{ address: '192.0.2.53', via: 'host' }] }
  return compileView({ networks: [zone], hasExternalAccess: true, forwarding })
}

export interface Asked {
  readonly policy: ForwardPolicy
  readonly query: Buffer
  readonly limit: number
  readonly reply: (bytes: Buffer) => void
}

/** An engine whose forwarder only notes what it is asked; `onAsked` may reply at once. */
export class TestEngine implements Engine {
  responder: Engine['responder'] = new Responder()
  readonly udpBytes = 4096
  readonly asked: Asked[] = []
  readonly errors: unknown[] = []
  readonly forwarder: Engine['forwarder']
  readonly onError = (error: unknown): void => void this.errors.push(error)

  constructor(onAsked: (asked: Asked) => void = () => undefined) {
    this.forwarder = {
      forward: (policy, query, limit, reply) => {
        const asked = { policy, query, limit, reply }
        this.asked.push(asked)
        onAsked(asked)
      },
    }
  }
}

export function answeringOf(view = viewOf()): Answering {
  return { view, counters: newCounters() }
}

/** Resolves when `isTrue` holds; looks every turn of the loop. */
export async function until(isTrue: () => boolean, what: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!isTrue()) {
    if (performance.now() > end) throw new Error(`Waited ${PATIENCE_MS} ms in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}

/** A UDP client that keeps every reply. */
export class UdpClient {
  readonly replies: Buffer[] = []
  readonly #socket: UdpSocket
  readonly #to: { readonly address: string; readonly port: number }

  constructor(to: { readonly address: string; readonly port: number }) {
    this.#to = to
    this.#socket = createSocket(to.address.includes(':') ? 'udp6' : 'udp4')
    this.#socket.on('message', bytes => void this.replies.push(bytes))
  }

  send(bytes: Buffer): void {
    this.#socket.send(bytes, this.#to.port, this.#to.address)
  }

  async ask(bytes: Buffer): Promise<Buffer> {
    const before = this.replies.length
    this.send(bytes)
    await until(() => this.replies.length > before, 'a UDP reply')
    return this.replies.at(-1) ?? Buffer.alloc(0)
  }

  close(): void {
    this.#socket.close()
  }
}

/** A TCP client that takes the frames apart. */
export class TcpClient {
  readonly replies: Buffer[] = []
  hasEnded = false
  isClosed = false
  readonly socket: TcpSocket
  #bytes = Buffer.alloc(0)

  constructor(port: number, address = '127.0.0.1') {
    this.socket = connect({ port, host: address, allowHalfOpen: true, noDelay: true })
    this.socket.on('data', chunk => this.#take(chunk))
    this.socket.on('end', () => (this.hasEnded = true))
    this.socket.on('close', () => (this.isClosed = true))
    this.socket.on('error', () => undefined)
  }

  /** Sends messages as frames, in one segment. */
  send(...messages: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(messages.map(frameOf)))
  }

  /** True once the server has closed. */
  get isOver(): boolean {
    return this.hasEnded || this.isClosed
  }

  async take(count: number): Promise<readonly Buffer[]> {
    await until(() => this.replies.length >= count, `${count} TCP replies`)
    return this.replies
  }

  close(): void {
    this.socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    while (this.#bytes.length >= 2) {
      const end = 2 + this.#bytes.readUInt16BE(0)
      if (this.#bytes.length < end) return
      this.replies.push(this.#bytes.subarray(2, end))
      this.#bytes = this.#bytes.subarray(end)
    }
  }
}

export function frameOf(message: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}

/** Time that moves by hand. */
export class TestClock implements Clock {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly body: () => void }>()

  now(): number {
    return this.#now
  }

  after(delayMs: number, body: () => void): Timer {
    const timer = { at: this.#now + delayMs, body }
    this.#timers.add(timer)
    return { cancel: () => void this.#timers.delete(timer) }
  }

  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = [...this.#timers].filter(t => t.at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.body()
    }
    this.#now = end
  }
}
