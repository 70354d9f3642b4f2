/** A client in a container: one UDP socket that asks 127.0.0.11 again and again, and what it heard when. */

import { createSocket, type Socket } from 'node:dgram'
import { parseType } from '../../resolver/rr.js'
import { parseMessage, type TextMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { unboundUdp } from '../../src/kernel/socket.js'

const resolverAddress = '127.0.0.11'
const port = 53
/** A stub resolver would ask again; a lost packet must not look like a slow change. */
const askAgainMs = 20

export interface Answered {
  /** The data of the answers, sorted; empty for NODATA and NXDOMAIN. */
  readonly data: readonly string[]
  readonly rcode: number
  /** `performance.now()` when the reply was there. */
  readonly at: number
}

export class Asker {
  readonly #socket: Socket
  readonly #waiting = new Map<number, (answered: Answered) => void>()
  #id = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('message', bytes => this.#hear(bytes))
    // Nobody listens while the daemon is away: that is silence, not an error.
    socket.on('error', () => undefined)
  }

  /** A client in the namespace. It keeps the namespace alive until closed. */
  static open(netns: Netns): Asker {
    const socket = createSocket('udp4')
    socket.bind({ fd: runInNetns(netns, () => unboundUdp(4)) })
    return new Asker(socket)
  }

  /** Sends one query and returns at once; `onAnswer` is called if a reply comes. Returns its id. */
  send(name: string, onAnswer: (answered: Answered) => void, type = 'A'): number {
    const id = (this.#id = (this.#id + 1) & 0xffff)
    this.#waiting.set(id, onAnswer)
    const packet = composeQuery({ name, type: parseType(type) ?? 1, id })
    this.#socket.send(packet, port, resolverAddress)
    return id
  }

  /** The answer; undefined where none came in time. */
  ask(name: string, type = 'A', timeoutMs = 1_000): Promise<Answered | undefined> {
    return new Promise(resolve => {
      const id = this.send(
        name,
        answered => {
          clearTimeout(timer)
          resolve(answered)
        },
        type,
      )
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        resolve(undefined)
      }, timeoutMs)
    })
  }

  /** Asks as fast as answers come until one suits; returns it. Throws after `timeoutMs`. */
  async until(
    name: string,
    isWanted: (answered: Answered) => boolean,
    timeoutMs = 5_000,
  ): Promise<Answered> {
    const deadline = performance.now() + timeoutMs
    let last: Answered | undefined
    while (performance.now() < deadline) {
      const answered = await this.ask(name, 'A', askAgainMs)
      if (answered !== undefined && isWanted(answered)) return answered
      last = answered ?? last
    }
    throw new Error(`"${name}" was not as wanted in ${timeoutMs} ms: ${JSON.stringify(last)}`)
  }

  close(): void {
    this.#socket.close()
  }

  #hear(bytes: Buffer): void {
    const at = performance.now()
    const onAnswer = this.#waiting.get(bytes.readUInt16BE(0))
    if (onAnswer === undefined) return
    this.#waiting.delete(bytes.readUInt16BE(0))
    const message: TextMessage = parseMessage(bytes)
    const data = message.answers.map(answer => answer.data).sort()
    onAnswer({ data, rcode: message.rcode, at })
  }
}
