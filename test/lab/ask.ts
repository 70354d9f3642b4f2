/** Questions of containers beside the tables: one, or many at once over one socket. */

import { createSocket } from 'node:dgram'
import { parseMessage, type TextMessage } from '../../resolver/wire/message-text.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { unboundUdp } from '../../src/kernel/socket.js'
import type { Host } from './host.js'
import { askTcp, askUdp, resolverAddress } from './probe.js'
import { describeReply, findFaults } from './reply.js'
import { composeAsked } from './vector.js'

export interface Answered {
  readonly message: TextMessage
  readonly bytes: Buffer
  readonly ms: number
  /** As in the tables: `{…}`, `ND`, `SERVFAIL`. */
  readonly text: string
}

/**
 * Asks `NAME TYPE [+tcp] [+bufsize=N]` from a container. Throws where nothing comes within 5 s, and
 * where the reply breaks a rule of every reply; AA, which an upstream may decide, is left to the tables.
 */
export async function ask(host: Host, container: string, text: string): Promise<Answered> {
  const { packet, isTcp } = composeAsked(text)
  const { reply, ms } = await (isTcp ? askTcp : askUdp)(await host.netnsOf(container), packet)
  if (reply === undefined) throw new Error(`"${container}" got no reply to "${text}"`)
  const faults = findFaults(packet, reply, true)
  if (faults.length > 0) throw new Error(`The reply to "${text}" breaks: ${faults.join(', ')}`)
  const message = parseMessage(reply)
  return { message, bytes: reply, ms, text: describeReply(message, true) }
}

/** Asks until `isGood` or `withinMs` have passed; the last answer. */
export async function askUntil(
  host: Host,
  container: string,
  text: string,
  withinMs: number,
  isGood: (answered: Answered) => boolean,
): Promise<Answered> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const answered = await ask(host, container, text)
    if (isGood(answered) || performance.now() > deadline) return answered
  }
}

export interface ManyReplies {
  /** By id of the query: the reply and when it came, in milliseconds after the last one was sent. */
  readonly replies: ReadonlyMap<number, { readonly bytes: Buffer; readonly ms: number }>
  close(): void
}

/** Sends all packets from one socket; replies are noted as they come. Resolves when all were sent. */
export async function sendMany(netns: Netns, packets: readonly Buffer[]): Promise<ManyReplies> {
  const socket = createSocket('udp4')
  socket.bind({ fd: runInNetns(netns, () => unboundUdp(4)) })
  const replies = new Map<number, { bytes: Buffer; ms: number }>()
  let sentAt = Infinity
  socket.on('error', () => undefined)
  socket.on('message', bytes => {
    const ms = Math.max(0, performance.now() - sentAt)
    replies.set(bytes.readUInt16BE(0), { bytes, ms: sentAt === Infinity ? 0 : ms })
  })
  await Promise.all(
    packets.map(
      packet =>
        new Promise<void>(resolve => {
          socket.send(packet, 53, resolverAddress, () => resolve())
        }),
    ),
  )
  sentAt = performance.now()
  return { replies, close: () => socket.close() }
}
