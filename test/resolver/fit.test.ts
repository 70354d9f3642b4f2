import t from 'tap'
import { clientLimit, composeFailure, fitReply } from '../../resolver/fit.js'
import { parseQuery } from '../../resolver/message.js'
import { RCODE } from '../../resolver/rcode.js'
import { TYPE } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { type QueryFields, composeQuery } from '../../resolver/wire/query.js'
import { OUTSIDE } from '../fixtures/addresses.js'

const hex = (...parts: string[]) => Buffer.from(parts.join(''), 'hex')
const query = (more: Partial<QueryFields> = {}) =>
  composeQuery({ id: 0x1234, name: 'Test.Example', type: TYPE.A, ...more })

/** An upstream's reply: its own id, the name folded. */
function upstream(flags: string, counts: string, ...records: string[]): Buffer {
  return hex(`9999${flags}0001${counts}`, '0474657374076578616d706c65000001', '0001', ...records)
}

const a = 'c00c000100010000004d0004cb00710a'
const opt = (rdata = '', extended = '00') =>
  `00002904d0${extended}000000${(rdata.length / 2).toString(16).padStart(4, '0')}${rdata}`
const ourOpt = '0000291000000000000000'

t.test('fitReply() gives the client its own id and spelling', async t => {
  const fitted = fitReply(upstream('8180', '000100000000', a), query(), 512)
  const expected = hex(
    '1234818000010001',
    '00000000',
    '04546573740745',
    '78616d706c65000001',
    '0001',
    a,
  )
  t.equal(fitted?.toString('hex'), expected.toString('hex'))
})

t.test(
  'fitReply() keeps AA, TC and rcode, clears AD and Z, sets RA and copies RD and CD',
  async t => {
    const flagsOf = (flags: string, more: Partial<QueryFields>) =>
      fitReply(upstream(flags, '000000000000'), query(more), 512)?.readUInt16BE(2)
    t.equal(flagsOf('8663', { flags: 0 }), 0x8683)
    t.equal(flagsOf('8063', { flags: 0x0110 }), 0x8193)
  },
)

t.test('fitReply() carries our OPT iff the client sent one', async t => {
  const plain = upstream('8180', '000100000000', a)
  const extended = upstream('8180', '000100000001', a, opt('000f00020016'))
  for (const reply of [plain, extended]) {
    const without = fitReply(reply, query(), 512)
    t.equal(without?.length, plain.length)
    t.equal(without?.readUInt16BE(10), 0)
    const withOpt = fitReply(reply, query({ edns: {} }), 1232)
    t.equal(withOpt?.subarray(-11).toString('hex'), ourOpt)
    t.equal(withOpt?.readUInt16BE(10), 1)
  }
})

t.test('fitReply() keeps the upper bits of the rcode, or says SERVFAIL without an OPT', async t => {
  const reply = upstream('8180', '000000000001', opt('', '01'))
  t.equal(parsed(fitReply(reply, query({ edns: {} }), 1232)).rcode, RCODE.BADVERS)
  t.equal(parsed(fitReply(reply, query(), 512)).rcode, RCODE.SERVFAIL)
})

t.test('fitReply() drops records behind an OPT, whose pointers would lead astray', async t => {
  const named = '0162c00c000100010000004d0004cb00710b'
  const pointing = 'c048000100010000004d0004cb00710c'
  const reply = upstream('8180', '000100000003', a, opt('000a00020102'), named, pointing)
  const fitted = parsed(fitReply(reply, query({ edns: {} }), 1232))
  t.match(fitted, { answers: [{ data: OUTSIDE.v4 }], additionals: [], edns: { options: '' } })
})

t.test('fitReply() cuts to whole records and says TC', async t => {
  const reply = upstream('8180', '003c00000000', a.repeat(60))
  for (const [limit, more, count] of [
    [512, {}, 30],
    [512, { edns: {} }, 29],
    [600, { edns: { udpSize: 600 } }, 34],
    [1232, { edns: {} }, 60],
  ] as const) {
    const fitted = fitReply(reply, query(more), limit)
    const text = parsed(fitted)
    t.ok((fitted?.length ?? Infinity) <= limit)
    t.equal(text.answers.length, count)
    t.equal((text.flags & 0x0200) !== 0, count < 60)
  }
})

t.test('fitReply() keeps later sections out once an answer is cut', async t => {
  const long = `c00c001000010000004d0190${'ff' + '61'.repeat(255)}${'8f' + '61'.repeat(143)}`
  const reply = upstream('8180', '000200010001', a, long, a, a)
  const text = parsed(fitReply(reply, query(), 300))
  t.match(text, { answers: [{ type: 'A' }], authorities: [], additionals: [] })
  t.ok(text.flags & 0x0200)
})

t.test('fitReply() leaves out additional records without TC', async t => {
  const reply = upstream('8180', '000100000028', a, a.repeat(40))
  const text = parsed(fitReply(reply, query(), 512))
  t.equal(text.answers.length, 1)
  t.equal(text.additionals.length, 29)
  t.equal(text.flags & 0x0200, 0)
})

t.test('fitReply() refuses what is no whole reply to the question', async t => {
  const good = upstream('8180', '000100000000', a)
  const other = upstream('8180', '000100000000', a)
  other[13] = 0x78
  const otherType = upstream('8180', '000100000000', a)
  otherType[27] = 28
  for (const [what, reply] of [
    ['a query', upstream('0100', '000000000000')],
    ['another opcode', upstream('a900', '000000000000')],
    ['another name', other],
    ['another type', otherType],
    ['no question', hex('999981830000000000000000')],
    ['a cut record', good.subarray(0, -1)],
    ['counts beyond the message', upstream('8180', 'ffffffffffff', a)],
    ['a header', good.subarray(0, 12)],
    ['nothing', Buffer.alloc(0)],
  ] as const) {
    t.equal(fitReply(reply, query(), 512), undefined, what)
  }
  t.equal(fitReply(good, Buffer.alloc(3), 512), undefined, 'no query')
})

t.test('fitReply() does not write into the upstream reply', async t => {
  const reply = upstream('8180', '000100000001', a, opt())
  const before = Buffer.from(reply)
  fitReply(reply, query({ edns: {} }), 512)
  t.strictSame(reply, before)
})

t.test('clientLimit() is what the client takes, capped', async t => {
  const limit = (edns: QueryFields['edns'], transport: 'udp' | 'tcp' = 'udp') => {
    const packet = query(edns ? { edns } : {})
    const result = parseQuery(packet, 0, packet.length)
    return result.kind === 'query' ? clientLimit(result, transport, 4096) : -1
  }
  t.equal(limit(undefined), 512)
  t.equal(limit({ udpSize: 0 }), 512)
  t.equal(limit({ udpSize: 1232 }), 1232)
  t.equal(limit({ udpSize: 65535 }), 4096)
  t.equal(limit(undefined, 'tcp'), 65535)
})

t.test('composeFailure() answers without records, with the reason iff there is an OPT', async t => {
  const ede = { code: 22, text: 'no upstream answered' }
  const bare = composeFailure(query(), RCODE.SERVFAIL, ede)
  t.equal(bare.length, query().length)
  t.match(parsed(bare), { id: 0x1234, rcode: RCODE.SERVFAIL, question: { name: 'Test.Example.' } })
  t.equal(bare.readUInt16BE(2), 0x8182)
  const told = parsed(composeFailure(query({ edns: {} }), RCODE.SERVFAIL, ede))
  t.match(told, { rcode: RCODE.SERVFAIL, edns: { options: 'EDE 22 "no upstream answered"' } })
  t.equal(parsed(composeFailure(query({ edns: {} }), RCODE.BADCOOKIE)).rcode, RCODE.BADCOOKIE)
  t.equal(composeFailure(hex('123401000001'), RCODE.FORMERR).length, 12, 'less than a header')
  t.equal(composeFailure(query().subarray(0, 14), RCODE.FORMERR).length, 12, 'half a question')
})

function parsed(bytes: Buffer | undefined) {
  if (bytes === undefined) throw new Error('the reply was refused')
  return parseMessage(bytes)
}
