import t from 'tap'
import { NO_REPLY, parseQuery, skipName } from '../../resolver/message.js'
import { RCODE } from '../../resolver/rcode.js'
import { TYPE } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { MANY_ADDRESSES } from '../fixtures/addresses.js'
import { VIEWS, askBytes, replyTo, summarize } from '../fixtures/world.js'

const header = (flags = '0100', counts = '0001000000000000') => `03e8${flags}${counts}`
const question = '02633200' + '00010001'
const hex = (...parts: string[]) => Buffer.from(parts.join(''), 'hex')
const opt = (size: string, version: string, flags: string, options = '') =>
  `000029${size}00${version}${flags}${(options.length / 2).toString(16).padStart(4, '0')}${options}`
const name = (labels: string) =>
  [...labels].map(letter => `3f${letter.charCodeAt(0).toString(16).repeat(63)}`).join('')

/** What c1's resolver does with a packet: the reply in hex, or `forward` or `drop`. */
function tell(packet: Buffer): string {
  const reply = askBytes(VIEWS.c1, packet)
  return typeof reply === 'string' ? reply : reply.toString('hex')
}

const formatError = `03e88181${'00'.repeat(8)}`

t.test('respond() drops or refuses, by its header alone, what is no single question', async t => {
  t.equal(tell(Buffer.alloc(11)), 'drop', '11 bytes')
  t.equal(tell(hex(header())), formatError, 'a header that promises a question')
  t.equal(tell(hex(header('0100', '0'.repeat(16)))), formatError, 'no question')
  t.equal(tell(hex(header('0100', '0002000000000000'), question, question)), formatError, 'two')
  t.equal(tell(hex(header('8100'), question)), 'drop', 'a response')
  t.equal(tell(hex(header('0100', 'f'.repeat(16)))), formatError, 'counts of 65535')
  for (const opcode of [1, 2, 3, 4, 5, 6, 15]) {
    const flags = ((opcode << 11) | 0x0100).toString(16).padStart(4, '0')
    const reply = (0x8184 | (opcode << 11)).toString(16)
    t.equal(tell(hex(header(flags), question)), `03e8${reply}${'00'.repeat(8)}`, `opcode ${opcode}`)
  }
})

t.test('respond() answers FORMERR to a question name that does not parse', async t => {
  for (const [what, bytes] of [
    ['no type and class', '02633200'],
    ['half a class', '02633200000100'],
    ['pointer to itself', 'c00c00010001'],
    ['pointer forward', 'c01200010001' + '02633200'],
    ['pointer after a label', '026332c00c00010001'],
    ['label type 0x41', '41' + '61'.repeat(65) + '0000010001'],
    ['label type 0x81', '81' + '61'.repeat(65) + '0000010001'],
    ['256 octets', `${name('abc')}3e${'64'.repeat(62)}010000010001`],
  ] as const) {
    t.equal(tell(hex(header(), bytes)), formatError, what)
  }
  t.equal(tell(hex(header(), `${name('abc')}3d${'64'.repeat(61)}0000010001`)), 'forward', '255')
})

t.test('respond() takes a dot inside a label for a byte of the label', async t => {
  t.equal(tell(hex(header(), '0763322e6e65743100' + '00010001')), 'forward')
  t.equal(tell(hex(header(), '0463322e6e00' + '00010001')), 'forward')
})

t.test('respond() repeats the bytes of any question', async t => {
  const odd = '0400ff2e41' + '046e657431' + '0000010001'
  const reply = replyTo(VIEWS.c1, hex(header(), odd))
  t.equal(reply.subarray(12, 12 + odd.length / 2).toString('hex'), odd)
  t.equal(summarize(parseMessage(reply)), 'NXDOMAIN net1.')
})

t.test('respond() ignores bytes after the last record', async t => {
  t.equal(tell(hex(header(), question, '010203040506')), tell(hex(header(), question)))
})

const answer = (flags: string, additional: number) =>
  `03e8${flags}00010001000000${additional.toString(16).padStart(2, '0')}${question}` +
  'c00c00010001000000000004ac1e0103'

t.test('respond() sets AA, QR and RA, copies RD and CD, and clears the rest', async t => {
  t.equal(tell(hex(header('0100'), question)), answer('8580', 0))
  t.equal(tell(hex(header('0000'), question)), answer('8480', 0))
  t.equal(tell(hex(header('07f0'), question)), answer('8590', 0))
})

t.test('respond() answers with OPT version 0 and no options iff the query has an OPT', async t => {
  const withOpt = header('0100', '0001000000000001')
  const ours = (flags: string) => `0000291000` + `0000${flags}0000`
  const cookie = '000a0008' + '01'.repeat(8) + '00080007' + '00011800cb0071' + '00030000'
  t.equal(tell(hex(withOpt, question, opt('04d0', '00', '0000'))), answer('8580', 1) + ours('0000'))
  t.equal(tell(hex(withOpt, question, opt('04d0', '00', '8000'))), answer('8580', 1) + ours('8000'))
  t.equal(
    tell(hex(withOpt, question, opt('04d0', '00', '0000', cookie))),
    answer('8580', 1) + ours('0000'),
  )
  const padding =
    `000c${(620 - 18 - 2 - 11 - 4).toString(16).padStart(4, '0')}` + '00'.repeat(620 - 35)
  const padded = hex(withOpt, question, opt('1000', '00', '0000', padding))
  t.equal(padded.length, 620)
  t.equal(tell(padded), answer('8580', 1) + ours('0000'))
})

t.test('respond() answers BADVERS to a later EDNS version', async t => {
  const reply = replyTo(
    VIEWS.c1,
    hex(header('0100', '0001000000000001'), question, opt('04d0', '01', '0000')),
  )
  const { rcode, edns, answers } = parseMessage(reply)
  t.match({ rcode, edns, answers }, { rcode: RCODE.BADVERS, edns: { version: 0 }, answers: [] })
})

t.test('respond() answers FORMERR to records that do not parse', async t => {
  const one = header('0100', '0001000000000001')
  const plain = opt('04d0', '00', '0000')
  for (const [what, packet] of [
    ['two OPT records', hex(header('0100', '0001000000000002'), question, plain, plain)],
    ['OPT owner x.', hex(one, question, '0178', plain)],
    ['OPT owner by pointer', hex(one, question, 'c00f', plain.slice(2))],
    [
      'option past RDATA',
      hex(one, question, opt('04d0', '00', '0000', '000a0009' + '01'.repeat(8))),
    ],
    ['RDATA past the packet', hex(one, question, '00002904d0000000000020')],
    ['arcount 65535 without records', hex(header('0100', '000100000000ffff'), question)],
    ['ancount 1 without records', hex(header('0100', '0001000100000000'), question)],
  ] as const) {
    const parsed = parseQuery(packet, 0, packet.length)
    t.match(parsed, { kind: 'failure', rcode: RCODE.FORMERR, questionEnd: 20 }, what)
    const reply = replyTo(VIEWS.c1, packet)
    t.match(
      parseMessage(reply),
      { rcode: RCODE.FORMERR, question: { name: 'c2.' }, answers: [] },
      what,
    )
  }
})

t.test('respond() ignores whole records in the answer section of a query', async t => {
  const rr = 'c00c000100010000003c0004cb007101'
  t.equal(tell(hex(header('0100', '0001000100000000'), question, rr)), answer('8580', 0))
})

t.test('parseQuery() reads an OPT size below 512 as 512', async t => {
  const packet = hex(header('0100', '0001000000000001'), question, opt('0000', '00', '8000'))
  t.match(parseQuery(packet, 0, packet.length), {
    id: 0x3e8,
    name: '\x02c2',
    type: TYPE.A,
    class: 1,
    questionEnd: 20,
    edns: { udpSize: 512, version: 0, do: true },
  })
})

t.test('parseQuery() counts offsets from the start of the message', async t => {
  const packet = hex('ffff', header(), question, 'ffff')
  t.match(parseQuery(packet, 2, packet.length - 2), { name: '\x02c2', questionEnd: 20 })
  t.match(parseQuery(packet, 2, 13), { kind: 'failure', rcode: NO_REPLY })
})

t.test('skipName() takes pointers back into the message only', async t => {
  const packet = hex('00'.repeat(12), '0161c00c', '0161c012', '0161c003')
  t.equal(skipName(packet, 0, 12, packet.length), -1, 'to its own start')
  t.equal(skipName(packet, 0, 16, packet.length), -1, 'forward')
  t.equal(skipName(packet, 0, 20, packet.length), -1, 'into the header')
  const good = hex('00'.repeat(12), '016100', '0162c00c')
  t.equal(skipName(good, 0, 15, good.length), 19)
})

t.test('respond() truncates to whole records with TC', async t => {
  for (const [what, edns, limit, least] of [
    ['no EDNS', undefined, 512, 25],
    ['bufsize 600', { udpSize: 600 }, 600, 30],
    ['bufsize 65535', { udpSize: 65535 }, 4096, 45],
  ] as const) {
    const packet = composeQuery({ name: 'many', type: TYPE.A, ...(edns ? { edns } : {}) })
    const reply = replyTo(VIEWS.c1, packet)
    const { answers, flags } = parseMessage(reply)
    t.ok(reply.length <= limit, `${what}: ${reply.length} bytes`)
    t.ok(answers.length >= least, `${what}: ${answers.length} records`)
    t.equal((flags & 0x0200) !== 0, answers.length < 45, `${what}: TC`)
    t.ok(answers.every(each => MANY_ADDRESSES.includes(each.data)))
    t.equal(new Set(answers.map(each => each.data)).size, answers.length)
  }
})
