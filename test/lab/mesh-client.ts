/** Clients of published ports, in any namespace: one TCP conversation, one UDP flow. */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIP, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode } from '../../src/base/error.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { unboundTcp, unboundUdp } from '../../src/kernel/socket.js'
import type { Answer } from './mesh-host.js'

const answerTimeoutMs = 3_000

export interface At {
  readonly address: string
  readonly port: number
  readonly localAddress?: string
  readonly localPort?: number
}

/** A connection whose first line was read. */
export class TcpTalk {
  readonly answer: Answer
  readonly #socket: Socket
  #received: Buffer

  /** Rejects with the errno as code (`ECONNREFUSED`), or `ETIMEDOUT` where nobody answers. */
  static async open(from: Netns, { address, port, localAddress, localPort }: At): Promise<TcpTalk> {
    const socket = new Socket({
      fd: runInNetns(from, () => unboundTcp(isIP(address) === 4 ? 4 : 6)),
    })
    const signal = AbortSignal.timeout(answerTimeoutMs)
    try {
      socket.connect({
        ...{ host: address, port },
        ...(localAddress !== undefined && { localAddress }),
        ...(localPort !== undefined && { localPort }),
      })
      await once(socket, 'connect', { signal })
      const [first] = (await once(socket, 'data', { signal })) as [Buffer]
      return new TcpTalk(socket, first)
    } catch (error) {
      socket.destroy()
      if (!signal.aborted) throw error
      throw Object.assign(new Error(`${address} port ${port} does not answer`), {
        code: 'ETIMEDOUT',
      })
    }
  }

  private constructor(socket: Socket, first: Buffer) {
    const end = first.indexOf('\n')
    this.answer = JSON.parse(first.subarray(0, end).toString()) as Answer
    this.#received = Buffer.from(first.subarray(end + 1))
    this.#socket = socket
    socket.on('data', data => (this.#received = Buffer.concat([this.#received, data])))
    socket.on('error', () => socket.destroy())
  }

  /** Sends and gives what came back, as long as what was sent. */
  async echo(bytes: Buffer | string): Promise<Buffer> {
    const sent = Buffer.from(bytes)
    this.#socket.write(sent)
    const signal = AbortSignal.timeout(answerTimeoutMs * 3)
    while (this.#received.length < sent.length) {
      if (this.#socket.destroyed) throw new Error('the connection ended')
      await once(this.#socket, 'data', { signal })
    }
    const echoed = this.#received.subarray(0, sent.length)
    this.#received = this.#received.subarray(sent.length)
    return echoed
  }

  close(): void {
    this.#socket.resetAndDestroy()
  }
}

/** Opens, closes, and gives what the task said, or the errno. */
export async function askTcp(from: Netns, at: At): Promise<Answer | string> {
  try {
    const talk = await TcpTalk.open(from, at)
    talk.close()
    return talk.answer
  } catch (error) {
    return errorCode(error) ?? String(error)
  }
}

/** One socket that stays: its datagrams are one flow, and only its peer's answers are heard. */
export class UdpTalk {
  readonly #socket: UdpSocket
  #ended = false

  static async open(from: Netns, { address, port }: At): Promise<UdpTalk> {
    const family = isIP(address) === 4 ? 4 : 6
    const socket = createSocket(`udp${family}`)
    socket.bind({ fd: runInNetns(from, () => unboundUdp(family)) })
    const connected = once(socket, 'connect')
    socket.connect(port, address)
    await connected
    return new UdpTalk(socket)
  }

  private constructor(socket: UdpSocket) {
    this.#socket = socket
    // Each ask hears its own.
    socket.on('error', () => undefined)
  }

  /** The answer to one datagram, the errno that came instead, or `ETIMEDOUT`. */
  async ask(timeoutMs = 1_000): Promise<Answer | string> {
    const ended = new AbortController()
    const { signal } = ended
    const answer = once(this.#socket, 'message', { signal }).then(
      ([message]: unknown[]) => JSON.parse(String(message)) as Answer,
    )
    try {
      this.#socket.send('hello')
      return await Promise.race([answer, delay(timeoutMs, 'ETIMEDOUT', { signal })])
    } catch (error) {
      return errorCode(error) ?? String(error)
    } finally {
      ended.abort()
      answer.catch(() => undefined)
    }
  }

  close(): void {
    if (!this.#ended) this.#socket.close()
    this.#ended = true
  }
}

/** Asks until the answer is as wanted, for as long as that may take; gives the last one. */
export async function askUntil(
  ask: () => Promise<Answer | string>,
  isWanted: (answer: Answer | string) => boolean,
  withinMs: number,
): Promise<Answer | string> {
  const end = performance.now() + withinMs
  for (;;) {
    const answer = await ask()
    if (isWanted(answer) || performance.now() > end) return answer
    await delay(20)
  }
}
