/** Connections from any namespace: one, with what the replica saw, or many in a row, counted. */

import { createSocket } from 'node:dgram'
import { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { unboundTcp, unboundUdp } from '../../src/kernel/socket.js'
import type { Seen } from '../fixtures/replica.js'

/** From where to where. */
export interface Route {
  readonly netns: Netns
  readonly address: string
  readonly port: number
  /** The client's own address and port; default: as the kernel chooses. */
  readonly from?: string
  readonly fromPort?: number
}

/** A replica's answer, and the client's side of it. */
export interface Answer extends Seen {
  readonly fromPort: number
  readonly ms: number
}

const defaultTimeoutMs = 10_000

/** Connects. Rejects with the errno as code, or with `TIMEOUT`. */
export function connectTcp(route: Route, timeoutMs = defaultTimeoutMs): Promise<Socket> {
  const { netns, address, port, from, fromPort } = route
  const family = address.includes(':') ? 6 : 4
  const fd = runInNetns(netns, () => unboundTcp(family))
  const socket = new Socket({ fd, allowHalfOpen: true })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy()
      reject(Object.assign(new Error(`No connection in ${timeoutMs} ms`), { code: 'TIMEOUT' }))
    }, timeoutMs)
    socket.once('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error').on('error', () => undefined)
      resolve(socket)
    })
    socket.connect({
      host: address,
      port,
      family,
      ...(from !== undefined && { localAddress: from }),
      ...(fromPort !== undefined && { localPort: fromPort }),
    })
  })
}

/** The code of a failed connect; `connected` where it did not fail. */
export async function tryTcp(route: Route, timeoutMs?: number): Promise<string> {
  try {
    const socket = await connectTcp(route, timeoutMs)
    socket.destroy()
    return 'connected'
  } catch (error) {
    return codeOf(error)
  }
}

/** One HTTP request over a connection of its own: the body. Rejects where the connection fails. */
export async function request(
  route: Route,
  { path = '/', body, timeoutMs }: RequestOptions = {},
): Promise<Buffer> {
  const socket = await connectTcp(route, timeoutMs)
  const ended = read(socket, timeoutMs)
  // HTTP/1.0: no chunks, and the end of the connection is the end of the reply.
  const head = body === undefined ? `GET ${path}` : `PUT ${path}`
  socket.write(`${head} HTTP/1.0\r\nContent-Length: ${body?.length ?? 0}\r\n\r\n`)
  if (body !== undefined) socket.write(body)
  const reply = await ended
  const at = reply.indexOf('\r\n\r\n')
  if (at < 0) throw Object.assign(new Error('The reply ended early'), { code: 'CUT' })
  return reply.subarray(at + 4)
}

export interface RequestOptions {
  readonly path?: string
  readonly body?: Buffer
  readonly timeoutMs?: number
}

/** Who answers, and whom it saw. */
export async function ask(route: Route, timeoutMs = defaultTimeoutMs): Promise<Answer> {
  const startedAt = performance.now()
  const socket = await connectTcp(route, timeoutMs)
  const { localPort: fromPort = 0 } = socket
  const ended = read(socket, timeoutMs)
  socket.write('GET / HTTP/1.0\r\n\r\n')
  const text = (await ended).toString()
  return {
    ...parseSeen(text.slice(text.indexOf('\r\n\r\n') + 4)),
    fromPort,
    ms: performance.now() - startedAt,
  }
}

/** Everything until the other side ends. Rejects on a reset, and with `TIMEOUT`. */
export function read(socket: Socket, timeoutMs = defaultTimeoutMs): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const settle = (error?: Error): void => {
      clearTimeout(timer)
      socket.destroy()
      if (error === undefined) resolve(Buffer.concat(chunks))
      else reject(error)
    }
    const timer = setTimeout(
      () => settle(Object.assign(new Error(`No end in ${timeoutMs} ms`), { code: 'TIMEOUT' })),
      timeoutMs,
    )
    socket.on('data', chunk => chunks.push(chunk))
    socket.once('end', () => settle())
    socket.once('error', settle)
    socket.once('close', () => settle())
  })
}

/** A TCP connection that stays, to the `echo` port of a replica. */
export class Talk {
  readonly socket: Socket
  readonly seen: Seen
  /** The error's code, or `end`, once it is over. */
  readonly over: Promise<string>
  #held: string
  readonly #waiting: (() => void)[] = []
  #end: string | undefined

  private constructor(socket: Socket, seen: Seen, held: string) {
    this.socket = socket
    this.seen = seen
    this.#held = held
    this.over = new Promise(resolve => {
      const finish = (how: string): void => {
        this.#end ??= how
        resolve(how)
        this.#wake()
      }
      socket.once('error', error => finish(codeOf(error)))
      socket.once('end', () => finish('end'))
      socket.once('close', () => finish('close'))
    })
    socket.on('data', chunk => {
      this.#held += chunk.toString()
      this.#wake()
    })
  }

  static async open(route: Route, timeoutMs = defaultTimeoutMs): Promise<Talk> {
    const socket = await connectTcp(route, timeoutMs)
    socket.setNoDelay()
    const line = await firstLine(socket, timeoutMs)
    return new Talk(socket, parseSeen(line.first), line.rest)
  }

  /** What came since the last call of `said` or `echo`. */
  get heard(): string {
    return this.#held
  }

  /** Sends a line and waits until it is back. Rejects where the connection ends first. */
  async echo(line: string, timeoutMs = defaultTimeoutMs): Promise<void> {
    this.socket.write(`${line}\n`)
    const deadline = performance.now() + timeoutMs
    while (!this.#held.includes(`${line}\n`)) {
      if (this.#end !== undefined) throw new Error(`The connection is over: ${this.#end}`)
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`No echo of "${line}" in ${timeoutMs} ms`)
      await Promise.race([
        new Promise<void>(resolve => this.#waiting.push(resolve)),
        delay(left, undefined, { ref: false }),
      ])
    }
    this.#held = ''
  }

  close(): void {
    this.socket.destroy()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

function firstLine(
  socket: Socket,
  timeoutMs: number,
): Promise<{ readonly first: string; readonly rest: string }> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => {
      socket.destroy()
      reject(Object.assign(new Error('The replica says nothing'), { code: 'TIMEOUT' }))
    }, timeoutMs)
    const onData = (chunk: Buffer): void => {
      text += chunk.toString()
      const at = text.indexOf('\n')
      if (at < 0) return
      clearTimeout(timer)
      socket.off('data', onData)
      resolve({ first: text.slice(0, at), rest: text.slice(at + 1) })
    }
    socket.on('data', onData)
    socket.once('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    socket.once('end', () => {
      clearTimeout(timer)
      reject(Object.assign(new Error('It ended at once'), { code: 'CUT' }))
    })
  })
}

/** A UDP socket that is connected to one place, so that it hears of refusals. */
export class Datagrams {
  readonly #socket
  readonly #waiting = new Set<(heard: string | Seen) => void>()

  private constructor(family: 4 | 6, netns: Netns) {
    this.#socket = createSocket(family === 4 ? 'udp4' : 'udp6')
    this.#socket.bind({ fd: runInNetns(netns, () => unboundUdp(family)) })
  }

  static open({ netns, address, port }: Route): Promise<Datagrams> {
    const datagrams = new Datagrams(address.includes(':') ? 6 : 4, netns)
    const socket = datagrams.#socket
    socket.on('error', error => datagrams.#tell(codeOf(error)))
    socket.on('message', bytes => datagrams.#tell(parseSeen(bytes.toString())))
    return new Promise(resolve => {
      socket.connect(port, address, () => resolve(datagrams))
    })
  }

  get fromPort(): number {
    return this.#socket.address().port
  }

  /** Sends one datagram: what the replica saw, the code of a refusal, or `silence`. */
  ask(text = 'x', timeoutMs = 3_000): Promise<string | Seen> {
    return new Promise(resolve => {
      const settle = (heard: string | Seen): void => {
        if (typeof heard !== 'string' && heard.text !== text) return
        clearTimeout(timer)
        this.#waiting.delete(settle)
        resolve(heard)
      }
      const timer = setTimeout(() => settle('silence'), timeoutMs)
      this.#waiting.add(settle)
      this.#socket.send(text, error => {
        if (error !== null && error !== undefined) settle(codeOf(error))
      })
    })
  }

  close(): void {
    this.#socket.close()
  }

  #tell(heard: string | Seen): void {
    for (const settle of [...this.#waiting]) settle(heard)
  }
}

/** One datagram from a socket of its own. */
export async function askUdp(
  route: Route,
  text?: string,
): Promise<{ readonly heard: string | Seen; readonly fromPort: number }> {
  const datagrams = await Datagrams.open(route)
  try {
    const heard = await datagrams.ask(text)
    return { heard, fromPort: datagrams.fromPort }
  } finally {
    datagrams.close()
  }
}

export function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : String(error)
}

function parseSeen(text: string): Seen {
  return JSON.parse(text) as Seen
}
