/** Asks a forwarder as a client would, and reads the reply. */

import { performance } from 'node:perf_hooks'
import { parseMessage } from '../../../resolver/wire/message-text.js'
import { composeQuery } from '../../fixtures/upstream.js'
import type { Forwarder } from '../../../resolver/forward/forwarder.js'
import type { ForwardPolicy } from '../../../resolver/forward/policy.js'
import type { UpstreamFixture } from '../../fixtures/upstream.js'

export const A = 1
export const TXT = 16

export interface Reply {
  readonly bytes: Buffer
  readonly message: ReturnType<typeof parseMessage>
  readonly rcode: number
  readonly flags: number
  readonly data: readonly string[]
  readonly ttls: readonly number[]
  readonly ms: number
}

export interface Asking {
  readonly ednsSize?: number
  readonly isDnssecWanted?: boolean
  readonly flags?: number
  readonly id?: number
  readonly limit?: number
}

/** Asks, and resolves with the one reply. Rejects where a second one comes. */
export function ask(
  forwarder: Forwarder,
  policy: ForwardPolicy,
  name: string,
  type: number,
  asking: Asking = {},
): Promise<Reply> {
  const query = composeQuery(name, type, asking)
  const limit = asking.limit ?? asking.ednsSize ?? 512
  return askBytes(forwarder, policy, query, limit)
}

export function askBytes(
  forwarder: Forwarder,
  policy: ForwardPolicy,
  query: Buffer,
  limit: number,
): Promise<Reply> {
  const started = performance.now()
  return new Promise((resolve, reject) => {
    let replies = 0
    forwarder.forward(policy, query, limit, bytes => {
      if (++replies > 1) reject(new Error('a second reply'))
      const message = parseMessage(bytes)
      resolve({
        bytes,
        message,
        rcode: (bytes[3] ?? 0) & 15,
        flags: bytes.readUInt16BE(2),
        data: message.answers.map(record => record.data),
        ttls: message.answers.map(record => record.ttl),
        ms: performance.now() - started,
      })
    })
  })
}

/** A policy that asks `upstreams` from the host, in this order. */
export function policyOf(
  ...upstreams: readonly Pick<UpstreamFixture, 'address' | 'port'>[]
): ForwardPolicy {
  return { upstreams: upstreams.map(({ address, port }) => ({ address, port, via: 'host' })) }
}

/** The INFO-CODEs of the extended errors in a reply's last record, the OPT. */
export function extendedErrors(bytes: Buffer): readonly number[] {
  const codes: number[] = []
  const option = Buffer.from([0, 15])
  for (let at = bytes.indexOf(option, 12); at > 0; at = bytes.indexOf(option, at + 2)) {
    const length = at + 6 <= bytes.length ? bytes.readUInt16BE(at + 2) : 0
    if (length >= 2 && at + 4 + length === bytes.length) codes.push(bytes.readUInt16BE(at + 4))
  }
  return codes
}
