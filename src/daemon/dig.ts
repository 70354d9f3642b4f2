/** Asks a container's resolver as the container does: a real query over its own sockets. */

import { createSocket } from 'node:dgram'
import { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { randomInt } from 'node:crypto'
import { CodedError } from '../base/error.js'
import type { DigReply, DigRequest } from '../api/contract.js'
import type { Container } from '../catalog/container.js'
import { unboundTcp, unboundUdp } from '../kernel/socket.js'
import { formatRcode } from '../../resolver/rcode.js'
import { parseType } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { resolverAddress } from './resolver-sockets.js'
import type { Sandboxes } from './sandboxes.js'

export class DigError extends CodedError<'DIG_NO_ANSWER' | 'DIG_BAD_TYPE'> {}

/** What dig waits, too. */
const timeoutMs = 5000
const port = 53

/** Throws DigError, or ResolverError `NAME_INVALID`. */
export async function dig(
  sandboxes: Sandboxes,
  container: Container,
  request: DigRequest,
): Promise<DigReply> {
  const type = parseType(request.type.toUpperCase())
  if (type === undefined) {
    throw new DigError('DIG_BAD_TYPE', `"${request.type}" is not a record type, such as A or AAAA`)
  }
  const id = randomInt(0x10000)
  const query = composeQuery({ name: request.name, type, id, edns: { udpSize: 1232 } })
  const startedAt = performance.now()
  const bytes = request.isTcp
    ? await askTcp(sandboxes, container, query)
    : await askUdp(sandboxes, container, query)
  const message = parseMessage(bytes)
  return {
    rcode: formatRcode(message.rcode),
    flags: flagNames.flatMap(([name, bit]) => (message.flags & bit ? [name] : [])),
    question: { name: message.question?.name ?? request.name, type: request.type.toUpperCase() },
    answers: message.answers,
    authorities: message.authorities,
    additionals: message.additionals,
    milliseconds: performance.now() - startedAt,
    bytes: bytes.length,
  }
}

const flagNames = [
  ['qr', 0x8000],
  ['aa', 0x0400],
  ['tc', 0x0200],
  ['rd', 0x0100],
  ['ra', 0x0080],
  ['ad', 0x0020],
  ['cd', 0x0010],
] as const

function askUdp(sandboxes: Sandboxes, container: Container, query: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4')
  socket.bind({ fd: sandboxes.runIn(container, () => unboundUdp(4)) })
  return new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(() => reject(noAnswer(container)), timeoutMs)
    socket.once('error', () => reject(noAnswer(container)))
    socket.on('message', bytes => {
      // Anybody in the container may send here; ours has the id that we drew.
      if (bytes.length < 2 || bytes.readUInt16BE(0) !== query.readUInt16BE(0)) return
      clearTimeout(timer)
      resolve(bytes)
    })
    socket.send(query, port, resolverAddress)
  }).finally(() => socket.close())
}

function askTcp(sandboxes: Sandboxes, container: Container, query: Buffer): Promise<Buffer> {
  const socket = new Socket({ fd: sandboxes.runIn(container, () => unboundTcp(4)) })
  return new Promise<Buffer>((resolve, reject) => {
    let received = Buffer.alloc(0)
    socket.setTimeout(timeoutMs, () => reject(noAnswer(container)))
    socket.once('error', () => reject(noAnswer(container)))
    socket.once('close', () => reject(noAnswer(container)))
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      const length = received.length < 2 ? Infinity : received.readUInt16BE(0)
      if (received.length >= length + 2) resolve(received.subarray(2, length + 2))
    })
    const prefix = Buffer.from([query.length >> 8, query.length & 0xff])
    socket.connect(port, resolverAddress, () => socket.write(Buffer.concat([prefix, query])))
  }).finally(() => socket.destroy())
}

function noAnswer(container: Container): DigError {
  return new DigError(
    'DIG_NO_ANSWER',
    `Nobody answers "${container.name}" at ${resolverAddress}: is it on a user network? Containers on none or on the default bridge have no resolver`,
  )
}
