/**
 * The tables of the resolver's specification, run against real sockets: one row is one vector with its
 * number, who asks, what is asked and what must come, in the specification's words.
 */

import type { Test } from 'tap'
import { parseType } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import type { Host } from './host.js'
import { askTcp, askUdp } from './probe.js'
import { describeReply, findFaults } from './reply.js'

export interface Vector {
  /** In section 3 of the specification. */
  readonly n: number
  /** Container that asks. */
  readonly from: string
  /** `NAME TYPE [CLASS] [+tcp] [+bufsize=N]`; c2's id is given to a function. */
  readonly ask: string | ((idOfC2: string) => string)
  /**
   * As describeReply() has it, after `FWD` where exactly one query for it must reach U1. None may
   * otherwise. `ND` alone leaves the owner of the SOA open.
   */
  readonly expect: string
  readonly ttl?: number
  readonly withinMs?: number
}

const classes: Readonly<Record<string, number>> = {
  '0': 0,
  IN: 1,
  CH: 3,
  HS: 4,
  NONE: 254,
  ANY: 255,
}

/** Runs the rows, one subtest each, named as they read. Returns their numbers. */
export function runVectors(t: Test, host: Host, vectors: readonly Vector[]): void {
  for (const vector of vectors) {
    const { n, from, ask, expect } = vector
    const text = typeof ask === 'string' ? ask : 'by id'
    t.test(`${n}: ${from} asks ${text}, gets ${expect}`, t => runVector(t, host, vector))
  }
}

async function runVector(t: Test, host: Host, vector: Vector): Promise<void> {
  const { from, ask, expect } = vector
  const text = typeof ask === 'string' ? ask : ask((await host.container('c2')).id)
  if (expect.startsWith('FWD')) await host.flushDns()
  const { packet, isTcp } = composeAsked(text)
  const before = countForwarded(host, packet)
  const asked = await (isTcp ? askTcp : askUdp)(await host.netnsOf(from), packet)
  if (asked.reply === undefined) {
    t.fail('no reply')
    return
  }
  const forwarded = countForwarded(host, packet) - before
  const message = parseMessage(asked.reply)
  const prefix = forwarded === 0 ? '' : forwarded === 1 ? 'FWD ' : `FWD ${forwarded} times `
  const said = prefix + describeReply(message, forwarded > 0)
  t.equal(/^ND \S+$/.test(said) && expect === 'ND' ? 'ND' : said, expect)
  t.strictSame(findFaults(packet, asked.reply, forwarded > 0), [], 'what every reply must keep to')
  if (vector.ttl !== undefined) t.equal(message.answers[0]?.ttl, vector.ttl, 'TTL')
  if (vector.withinMs !== undefined) t.ok(asked.ms < vector.withinMs, `${asked.ms} ms`)
}

/** The packet of `NAME TYPE [CLASS] [+bufsize=N [+dnssec]] [+norecurse] [+tcp]`. */
export function composeAsked(text: string): { readonly packet: Buffer; readonly isTcp: boolean } {
  const words = text.split(' ')
  const [name = '', typeText = ''] = words
  const type = parseType(typeText)
  const classText = words[2]?.startsWith('+') === false ? words[2] : 'IN'
  const cls = classes[classText]
  if (type === undefined || cls === undefined) throw new Error(`Cannot ask "${text}"`)
  const size = /\+bufsize=(\d+)/.exec(text)?.[1]
  const packet = composeQuery({
    name,
    type,
    class: cls,
    id: Math.floor(Math.random() * 0x10000),
    ...(size !== undefined && {
      edns: { udpSize: Number(size), do: text.includes('+dnssec') },
    }),
    ...(text.includes('+norecurse') && { flags: 0 }),
  })
  return { packet, isTcp: text.includes('+tcp') }
}

/** Queries at U1 with the question of `packet`: name in any case, type and class. */
export function countForwarded(host: Host, packet: Buffer): number {
  const question = packet.toString('latin1', 12).toLowerCase()
  return host.upstream.received.filter(({ bytes, questionEnd }) =>
    question.startsWith(bytes.toString('latin1', 12, questionEnd).toLowerCase()),
  ).length
}

/** The owner name of an address's PTR, without a final dot. */
export function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').reverse().join('.')}.in-addr.arpa`
  const [head = '', tail = ''] = address.split('::')
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const zeros = Array<string>(8 - groups(head).length - groups(tail).length).fill('0')
  const hex = [...groups(head), ...zeros, ...groups(tail)].map(group => group.padStart(4, '0'))
  return `${[...hex.join('')].reverse().join('.')}.ip6.arpa`
}
