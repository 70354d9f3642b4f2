import t from 'tap'
import { formatRcode } from '../../resolver/rcode.js'
import { formatClass, formatType, parseType } from '../../resolver/rr.js'

t.test('parseType() reads what formatType() writes, and mnemonics in any case', async t => {
  for (let type = 0; type <= 0xffff; type += 1) {
    if (parseType(formatType(type)) !== type) t.fail(`type ${type}`)
  }
  t.equal(parseType('aaaa'), 28)
  t.equal(parseType('type65'), 65)
  for (const text of ['', 'TYPE65536', 'TYPE', 'TYPE-1', 'toString'])
    t.equal(parseType(text), undefined)
})

t.test('formatClass() and formatRcode() fall back to numbers', async t => {
  t.strictSame([formatClass(1), formatClass(17)], ['IN', 'CLASS17'])
  t.strictSame([formatRcode(3), formatRcode(12)], ['NXDOMAIN', 'RCODE12'])
})
