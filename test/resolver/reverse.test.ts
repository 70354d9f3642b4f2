import fc from 'fast-check'
import t from 'tap'
import { parseAddress, parsePrefix } from '../../src/base/ip.js'
import { formatName, nameKey } from '../../resolver/name.js'
import {
  isReverseWithin,
  parseReverse,
  reverseKey,
  tryParseAddress,
} from '../../resolver/reverse.js'

t.test('reverseKey() reverses octets and nibbles', async t => {
  t.equal(formatName(reverseKey('\xac\x1e\x01\x03')), '3.1.30.172.in-addr.arpa.')
  const v6 = tryParseAddress('fd00:2::a2') ?? ''
  t.equal(formatName(reverseKey(v6)), `2.a.${'0.'.repeat(22)}2.0.0.0.0.0.d.f.ip6.arpa.`)
})

t.test('parseReverse() reads back what reverseKey() writes', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), text => {
      const reverse = parseReverse(reverseKey(tryParseAddress(text) ?? ''))
      const { family, value } = parseAddress(text)
      const isWhole = reverse?.prefix.length === (family === 4 ? 32 : 128)
      return reverse?.isValid === true && isWhole && reverse.prefix.base === value
    }),
  )
})

t.test('parseReverse() reads partial names as prefixes and stops at what is no number', async t => {
  const read = (name: string) => parseReverse(nameKey(name))
  const slash24 = parsePrefix('172.30.1.0/24')
  t.strictSame(read('1.30.172.in-addr.arpa'), { prefix: slash24, isValid: true })
  for (const label of ['300', '01', 'x', '']) {
    const name = label === '' ? '1.30.172.in-addr.arpa' : `${label}.1.30.172.in-addr.arpa`
    t.match(read(name), { prefix: slash24, isValid: label === '' }, label)
  }
  t.match(read('9.4.3.2.1.in-addr.arpa'), { isValid: false })
  t.equal(read('in-addr.arpa'), undefined)
  t.equal(read('1.30.172.example'), undefined)
})

t.test('isReverseWithin() wants every address below the name inside the subnet', async t => {
  const within = (name: string, subnet: string) => {
    const reverse = parseReverse(nameKey(name))
    return reverse !== undefined && isReverseWithin(reverse, parsePrefix(subnet))
  }
  t.ok(within('1.30.172.in-addr.arpa', '172.30.1.0/24'))
  t.notOk(within('30.172.in-addr.arpa', '172.30.1.0/24'))
  t.notOk(within('2.30.172.in-addr.arpa', '172.30.1.0/24'))
  t.notOk(within('d.f.ip6.arpa', '172.30.1.0/24'))
})
