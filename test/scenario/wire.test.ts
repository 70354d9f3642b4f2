/** Section G of the resolver's specification: exact bytes by UDP, well formed and not. */

import t, { type Test } from 'tap'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { TYPE } from '../../resolver/rr.js'
import type { Netns } from '../../src/kernel/netns.js'
import { assertCovers, byNumber } from '../lab/coverage.js'
import { asRoot, type Host } from '../lab/host.js'
import {
  headed,
  nameOfLength,
  opt,
  option,
  Q,
  questionFor,
  withAdditional,
  withHeader,
} from '../lab/packet.js'
import { askUdp, type Asked } from '../lab/probe.js'
import { sendFromPortZero } from '../lab/raw.js'
import { describeReply, findFaults } from '../lab/reply.js'
import { openWorld } from '../lab/world.js'

const QUESTION = Q.subarray(12)
const RECORD = Buffer.from('c00c000100010000003c0004c0000242', 'hex')
const AA_TC_Z_AD_CD = { AA: 0x0400, TC: 0x0200, Z: 0x0040, AD: 0x0020, CD: 0x0010 } as const
const c2 = '172.30.1.3'

interface Row {
  readonly n: number
  readonly name: string
  readonly packet: Buffer
  /**
   * `none` is silence; else as describeReply() has it, after `FWD` where it reaches U1 and before
   * `12 B` where it is a header alone.
   */
  readonly expect: string
  /** The quickest of three must be. */
  readonly withinMs?: number
}

const rows: readonly Row[] = [
  { n: 157, name: '11 bytes', packet: Q.subarray(0, 11), expect: 'none' },
  { n: 158, name: 'a header, qd=1, nothing after', packet: headed([1]), expect: 'FORMERR 12 B' },
  { n: 159, name: 'qd=0', packet: headed([0]), expect: 'FORMERR 12 B' },
  { n: 160, name: 'qd=2', packet: headed([2], QUESTION, QUESTION), expect: 'FORMERR 12 B' },
  ...[1, 2, 3, 4, 5, 6].map((opcode, i) => ({
    n: 161 + i,
    name: `opcode ${opcode}`,
    packet: withHeader({ 2: 0x0100 | (opcode << 11) }),
    expect: 'NOTIMP 12 B',
  })),
  { n: 167, name: 'QR=1', packet: withHeader({ 2: 0x8100 }), expect: 'none' },
  {
    n: 168,
    name: 'a name without type and class',
    packet: Q.subarray(0, 16),
    expect: 'FORMERR 12 B',
  },
  {
    n: 169,
    name: 'a name that points at itself',
    packet: headed([1], 'c00c00010001'),
    expect: 'FORMERR 12 B',
    withinMs: 5,
  },
  {
    n: 170,
    name: 'a name that points forward',
    packet: headed([1], 'c01200010001', '02633200'),
    expect: 'FORMERR 12 B',
  },
  { n: 171, name: 'label 41', packet: headed([1], '41633200', '00010001'), expect: 'FORMERR 12 B' },
  { n: 171, name: 'label 81', packet: headed([1], '81633200', '00010001'), expect: 'FORMERR 12 B' },
  {
    n: 172,
    name: 'a name of 255 octets',
    packet: questionFor(nameOfLength(255)),
    expect: 'FWD NXDOMAIN',
  },
  {
    n: 172,
    name: 'a name of 256 octets',
    packet: questionFor(nameOfLength(256)),
    expect: 'FORMERR 12 B',
  },
  {
    n: 173,
    name: 'a label with a dot inside',
    packet: questionFor(Buffer.from('0463322e7800', 'hex')),
    expect: 'FWD NXDOMAIN',
  },
  {
    n: 174,
    name: 'a label with NUL, one with FF FE',
    packet: questionFor(Buffer.from('0361006202fffe00', 'hex')),
    expect: 'FWD NXDOMAIN',
  },
  { n: 175, name: '6 bytes behind', packet: Buffer.concat([Q, Buffer.alloc(6, 0xee)]), expect: c2 },
  {
    n: 176,
    name: 'arcount=65535 without records',
    packet: withHeader({ 10: 0xffff }),
    expect: 'FORMERR',
    withinMs: 5,
  },
  {
    n: 177,
    name: 'a header with all counts 65535',
    packet: headed([0xffff, 0xffff, 0xffff, 0xffff]),
    expect: 'FORMERR 12 B',
    withinMs: 5,
  },
  { n: 178, name: 'an OPT', packet: withAdditional(Q, opt()), expect: c2 },
  {
    n: 179,
    name: 'an OPT of version 1',
    packet: withAdditional(Q, opt({ version: 1 })),
    expect: 'BADVERS',
  },
  { n: 180, name: 'two OPT', packet: withAdditional(Q, opt(), opt()), expect: 'FORMERR' },
  {
    n: 180,
    name: 'an OPT of owner x.',
    packet: withAdditional(Q, opt({ owner: Buffer.from('017800', 'hex') })),
    expect: 'FORMERR',
  },
  {
    n: 181,
    name: 'an EDNS option longer than its RDATA',
    packet: withAdditional(Q, opt({ options: option(10, Buffer.alloc(4), 400) })),
    expect: 'FORMERR',
  },
  { n: 183, name: 'DO=1', packet: withAdditional(Q, opt({ isDo: true })), expect: c2 },
  {
    n: 184,
    name: 'COOKIE, ECS and NSID',
    packet: withAdditional(Q, opt({ options: Buffer.concat(['c', 'e', 'n'].map(optionOf)) })),
    expect: c2,
  },
  {
    n: 185,
    name: '620 bytes by padding',
    packet: withAdditional(Q, opt({ options: option(12, Buffer.alloc(620 - Q.length - 15)) })),
    expect: c2,
  },
  { n: 186, name: 'flags 07F0', packet: withHeader({ 2: 0x07f0 }), expect: c2 },
  {
    n: 187,
    name: 'an A record of the client in the answer section',
    packet: headed([1, 1, 0, 0], QUESTION, RECORD),
    expect: c2,
  },
]

function optionOf(kind: string): Buffer {
  if (kind === 'c') return option(10, Buffer.alloc(8, 1))
  if (kind === 'e') return option(8, Buffer.from('0001180001020300'.slice(0, 14), 'hex'))
  return option(3, Buffer.alloc(0))
}

async function describe(host: Host, netns: Netns, packet: Buffer): Promise<[string, Asked]> {
  const isSilent = packet.length < 12 || (packet[2] ?? 0) >= 0x80
  const before = host.upstream.received.length
  const asked = await askUdp(netns, packet, isSilent ? 300 : 5_000)
  const forwarded = host.upstream.received.length - before
  if (asked.reply === undefined) return ['none', asked]
  const message = parseMessage(asked.reply)
  const isBare = asked.reply.length === 12
  const text = describeReply(message, forwarded > 0)
  const prefix = forwarded === 0 ? '' : forwarded === 1 ? 'FWD ' : `FWD ${forwarded} times `
  return [prefix + text + (isBare ? ' 12 B' : ''), asked]
}

function runRows(t: Test, host: Host): void {
  for (const { n, name, packet, expect, withinMs } of rows) {
    t.test(`${n}: ${name}: ${expect}`, async t => {
      const netns = await host.netnsOf('c1')
      await host.flushDns()
      const [said, { reply, ms }] = await describe(host, netns, packet)
      t.equal(said, expect)
      if (reply === undefined) return
      t.strictSame(findFaults(packet, reply, expect.startsWith('FWD')), [])
      if (withinMs === undefined) return
      const times = [ms]
      for (let i = 0; i < 2; i++) times.push((await askUdp(netns, packet)).ms)
      t.ok(Math.min(...times) < withinMs, `${times.join(', ')} ms`)
    })
  }
}

t.test('G. Wire', asRoot, async t => {
  const host = await openWorld(t, { isMany: true })
  const c1 = await host.netnsOf('c1')
  const vector = byNumber(t)
  runRows(t, host)
  const replyTo = async (packet: Buffer): Promise<Buffer> => {
    const { reply } = await askUdp(c1, packet)
    if (reply === undefined) throw new Error('No reply')
    return reply
  }
  const many = composeQuery({ name: 'many', type: TYPE.A })

  vector([173, 174], 'odd labels reach the upstream as they came, 0x20 aside', async t => {
    for (const name of ['0463322e7800', '0361006202fffe00']) {
      await host.flushDns()
      const packet = questionFor(Buffer.from(name, 'hex'))
      await replyTo(packet)
      const seen = host.upstream.received.at(-1)
      const question = seen?.bytes.toString('latin1', 12, seen.questionEnd).toLowerCase()
      t.equal(question, packet.toString('latin1', 12).toLowerCase())
    }
  })

  vector([178, 179], 'the OPT of a reply is version 0', async t => {
    for (const version of [0, 1]) {
      const { edns, answers } = parseMessage(await replyTo(withAdditional(Q, opt({ version }))))
      t.equal(edns?.version, 0)
      t.equal(answers.length, version === 0 ? 1 : 0)
    }
  })

  vector([182], 'OPT size 0 is treated as 512', async t => {
    const reply = await replyTo(withAdditional(many, opt({ size: 0 })))
    t.ok(reply.length <= 512, `${reply.length} bytes`)
    t.ok(parseMessage(reply).flags & AA_TC_Z_AD_CD.TC, 'TC')
    t.ok(parseMessage(reply).answers.length >= 25, 'a partial set')
  })

  vector([183], 'DO=1 is copied, and nothing is signed', async t => {
    const { edns, answers } = parseMessage(await replyTo(withAdditional(Q, opt({ isDo: true }))))
    t.equal(edns?.do, true)
    t.strictSame(
      answers.map(({ type }) => type),
      ['A'],
    )
  })

  vector([184], 'no EDNS option comes back', async t => {
    const options = Buffer.concat(['c', 'e', 'n'].map(optionOf))
    const { edns } = parseMessage(await replyTo(withAdditional(Q, opt({ options }))))
    t.equal(edns?.options, '')
  })

  vector([186], 'of flags 07F0 only RD and CD come back, AA is ours', async t => {
    const { flags } = parseMessage(await replyTo(withHeader({ 2: 0x07f0 })))
    const set = Object.entries(AA_TC_Z_AD_CD).filter(([, bit]) => flags & bit)
    t.strictSame(
      set.map(([name]) => name),
      ['AA', 'CD'],
    )
  })

  vector([188], 'many without EDNS: 512 bytes, TC, at least 25 whole records', async t => {
    const reply = await replyTo(many)
    const { flags, answers } = parseMessage(reply)
    t.ok(reply.length <= 512, `${reply.length} bytes`)
    t.ok(flags & AA_TC_Z_AD_CD.TC, 'TC')
    t.ok(answers.length >= 25, `${answers.length} records`)
  })

  vector([189], 'many with 600 bytes', async t => {
    const reply = await replyTo(withAdditional(many, opt({ size: 600 })))
    t.ok(reply.length <= 600 && reply.length > 512, `${reply.length} bytes`)
    t.ok(parseMessage(reply).flags & AA_TC_Z_AD_CD.TC, 'TC')
  })

  vector([190], 'many with 65535 bytes: complete, at most 4096', async t => {
    const reply = await replyTo(withAdditional(many, opt({ size: 65535 })))
    t.ok(reply.length <= 4096, `${reply.length} bytes`)
    t.equal(parseMessage(reply).answers.length, 45)
  })

  vector([191], 'source port 0: no reply, server alive', async t => {
    t.ok(sendFromPortZero(c1, 53, Q), 'sent through the NAT')
    t.ok(sendFromPortZero(c1, 35353, Q), 'sent to the listener itself')
    t.equal(describeReply(parseMessage(await replyTo(Q)), false), c2)
    t.not(host.daemonPid, undefined)
  })

  assertCovers(t, 'wire', [...rows.map(({ n }) => n), ...vector.numbers])
})
