import fc from 'fast-check'
import t from 'tap'
import { TYPE, formatType, parseType } from '../../../resolver/rr.js'
import { parseMessage } from '../../../resolver/wire/message-text.js'
import { composeQuery } from '../../../resolver/wire/query.js'

const hex16 = (value: number) => value.toString(16).padStart(4, '0')

/** A reply about test.example with one record of `type`. */
function messageWith(type: number, data: string): Buffer {
  const question = `0474657374076578616d706c6500${hex16(type)}0001`
  const rr = `c00c${hex16(type)}00010000003c${hex16(data.length / 2)}${data}`
  return Buffer.from(`000181800001000100000000${question}${rr}`, 'hex')
}

const forms = [
  [TYPE.A, 'cb00710a', '203.0.113.10'],
  [TYPE.AAAA, '20010db8000000000000000000000010', '2001:db8::10'],
  [TYPE.CNAME, 'c00c', 'test.example.'],
  [TYPE.NS, '026e73c011', 'ns.example.'],
  [TYPE.PTR, '026e7300', 'ns.'],
  [TYPE.MX, '000ac00c', '10 test.example.'],
  [TYPE.TXT, '026869022261', '"hi" "\\"a"'],
  [TYPE.SOA, 'c00c00' + '00000001'.repeat(5), 'test.example. . 1 1 1 1 1'],
  [TYPE.SRV, '000000010050c00c', '0 1 80 test.example.'],
  [TYPE.CAA, '0005697373756563612e78', '0 issue "ca.x"'],
  [TYPE.HTTPS, '000100' + '00010003026832', '1 . key1="\\002h2"'],
  [TYPE.SVCB, '0000c00c', '0 test.example.'],
  [TYPE.NAPTR, '0001000201750178017900', '1 2 "u" "x" "y" .'],
  [TYPE.DS, '00010d02abcd', '1 13 2 abcd'],
  [999, 'deadbeef', '\\# 4 deadbeef'],
  [999, '', '\\# 0'],
  [TYPE.A, 'cb0071', '\\# 3 cb0071'],
  [TYPE.MX, '000ac0ff', '\\# 4 000ac0ff'],
  [TYPE.SRV, '0000', '\\# 2 0000'],
  [TYPE.CNAME, 'c00cff', '\\# 3 c00cff'],
] as const

t.test('parseMessage() shows RDATA in presentation form, or as RFC 3597 does', async t => {
  for (const [type, data, text] of forms) {
    const { answers } = parseMessage(messageWith(type, data))
    const expected = {
      name: 'test.example.',
      type: formatType(type),
      class: 'IN',
      ttl: 60,
      data: text,
    }
    t.strictSame(answers, [expected], `${formatType(type)} ${data}`)
  }
})

t.test('parseMessage() refuses messages that are not whole', async t => {
  const whole = messageWith(TYPE.A, 'cb00710a')
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => parseMessage(whole.subarray(0, length)), { code: 'MESSAGE_INVALID' })
  }
})

t.test('parseMessage() is safe against pointer loops and chains', async t => {
  const loop = Buffer.from('000181800001000000000000c00c00010001', 'hex')
  t.throws(() => parseMessage(loop), { code: 'MESSAGE_INVALID', message: /points forward/ })
  t.equal(parseMessage(chainedName(127)).answers[1]?.name, '.')
  t.throws(() => parseMessage(chainedName(200)), { message: /too many pointers/ })
})

t.test('parseMessage() reads what composeQuery() writes', async () => {
  const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,30}$/)
  const fields = fc.record({
    name: fc.array(label, { minLength: 1, maxLength: 6 }).map(labels => labels.join('.')),
    type: fc.nat(0xffff),
    id: fc.nat(0xffff),
    edns: fc.option(fc.record({ udpSize: fc.nat(0xffff), version: fc.nat(255), do: fc.boolean() })),
  })
  fc.assert(
    fc.property(fields, ({ edns, ...rest }) => {
      const message = parseMessage(composeQuery(edns === null ? rest : { ...rest, edns }))
      return (
        message.id === rest.id &&
        message.question?.name === `${rest.name}.` &&
        parseType(message.question.type) === rest.type &&
        message.edns?.udpSize === edns?.udpSize &&
        message.edns?.do === edns?.do
      )
    }),
  )
})

/** The RDATA of one record is a chain of pointers that ends at the root; another is owned by it. */
function chainedName(links: number): Buffer {
  const chainStart = 28
  const targets = Array.from({ length: links - 1 }, (_, i) =>
    i === 0 ? 12 : chainStart + 2 * (i - 1),
  )
  const chain = targets.map(target => hex16(0xc000 | target)).join('')
  const holder = `0003e7000100000000${hex16(chain.length / 2)}${chain}`
  const owner = hex16(0xc000 | (chainStart + 2 * (links - 2)))
  return Buffer.from(
    `000181800001000200000000${'0000010001'}${holder}${owner}000100010000000000040a000001`,
    'hex',
  )
}
