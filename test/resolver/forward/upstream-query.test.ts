import fc from 'fast-check'
import t from 'tap'
import { parseQuery } from '../../../resolver/message.js'
import { composeUpstreamQuery, matchReply } from '../../../resolver/forward/upstream-query.js'
import { createRandomSource } from '../../../resolver/forward/random.js'
import { composeQuery } from '../../fixtures/upstream.js'
import type { Query } from '../../../resolver/message.js'

const random = createRandomSource()
const style = { hasEdns: true, mixesCase: true }

function parse(bytes: Buffer): Query {
  const query = parseQuery(bytes, 0, bytes.length)
  if (query.kind === 'failure') throw new Error(query.reason)
  return query
}

function replyTo(sent: Buffer, questionEnd: number): Buffer {
  const reply = Buffer.from(sent.subarray(0, questionEnd))
  reply[2] = 0x81
  reply[11] = 0
  return reply
}

t.test('composeUpstreamQuery() mixes letters only and keeps every other byte', async t => {
  const label = Buffer.from([5, 0x61, 0x2e, 0x00, 0xff, 0x5a, 0])
  const client = Buffer.concat([
    composeQuery('', 1).subarray(0, 12),
    label,
    Buffer.from([0, 1, 0, 1]),
  ])
  const query = parse(client)
  const spellings = new Set<string>()
  for (let i = 0; i < 200; i++) {
    const sent = composeUpstreamQuery(client, query, style, random)
    const name = sent.subarray(12, query.questionEnd)
    spellings.add(name.toString('latin1'))
    t.strictSame([name[2], name[3], name[4]], [0x2e, 0, 0xff])
    t.equal((name[1] ?? 0) | 0x20, 0x61)
    t.equal((name[5] ?? 0) | 0x20, 0x7a)
  }
  t.equal(spellings.size, 4)
})

t.test('composeUpstreamQuery() without mixing repeats the question’s bytes', async t => {
  const client = composeQuery('TeSt.Example', 1)
  const query = parse(client)
  const plain = { hasEdns: false, mixesCase: false }
  const sent = composeUpstreamQuery(client, query, plain, random)
  t.strictSame(sent.subarray(12), client.subarray(12))
  t.equal(sent.length, query.questionEnd)
})

t.test('matchReply() tells a reply, another case, and anything else apart', async t => {
  const client = composeQuery('test.example', 1)
  const { questionEnd } = parse(client)
  const good = replyTo(client, questionEnd)
  const change = (at: number, xor: number): Buffer => {
    const copy = Buffer.from(good)
    copy[at] = (copy[at] ?? 0) ^ xor
    return copy
  }
  t.equal(matchReply(client, questionEnd, good), 'reply')
  t.equal(matchReply(client, questionEnd, change(14, 0x20)), 'case')
  t.equal(matchReply(client, questionEnd, change(14, 0x01)), 'other', 'name')
  t.equal(matchReply(client, questionEnd, change(questionEnd - 1, 0x20)), 'other', 'class')
  t.equal(matchReply(client, questionEnd, change(1, 0x01)), 'other', 'id')
  t.equal(matchReply(client, questionEnd, change(2, 0x80)), 'other', 'not a response')
  t.equal(matchReply(client, questionEnd, good.subarray(0, questionEnd - 1)), 'other', 'cut')
})

t.test('matchReply() accepts no bytes but those of the question', async t => {
  const client = composeQuery('test.example', 1)
  const { questionEnd } = parse(client)
  const property = fc.property(
    fc.integer({ min: 0, max: questionEnd - 1 }),
    fc.integer({ min: 1, max: 255 }),
    (at, xor) => {
      const reply = replyTo(client, questionEnd)
      reply[at] = (reply[at] ?? 0) ^ xor
      const isFreeByte = at === 2 || at === 3 || (at >= 6 && at < 12)
      return isFreeByte || matchReply(client, questionEnd, reply) !== 'reply'
    },
  )
  fc.assert(property)
  t.pass('holds')
})
