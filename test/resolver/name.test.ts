import fc from 'fast-check'
import t from 'tap'
import { ResolverError } from '../../resolver/error.js'
import {
  countLabels,
  foldName,
  formatName,
  isWithin,
  joinNames,
  nameKey,
  parseName,
  validateName,
} from '../../resolver/name.js'

t.test('parseName() writes the wire form without the root byte', async t => {
  t.equal(parseName('C2.net1'), '\x02C2\x04net1')
  t.equal(parseName('trail.'), '\x05trail')
  t.equal(parseName('ü'), '\x02\xc3\xbc')
  t.equal(nameKey('C2.Net1.'), '\x02c2\x04net1')
})

t.test('validateName() refuses what no message can carry, naming it', async t => {
  const long = 'x'.repeat(70)
  for (const [text, found] of [
    [long, 'its label'],
    ['a..b', 'an empty label'],
    ['', 'an empty label'],
    ['.', 'an empty label'],
    [`${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)}`, '256 bytes'],
  ] as const) {
    t.throws(() => validateName(text), { name: 'ResolverError', code: 'NAME_INVALID' })
    t.throws(() => validateName(text), new RegExp(found))
    t.throws(() => validateName(text), { message: new RegExp(`"${text}"`) })
  }
  validateName(`${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`)
  validateName('under_score')
})

t.test('foldName() folds ASCII letters and no other byte', async t => {
  for (let byte = 0; byte < 256; byte++) {
    const isUpper = byte >= 0x41 && byte <= 0x5a
    const wire = `\x01${String.fromCharCode(byte)}`
    t.equal(foldName(wire).charCodeAt(1), isUpper ? byte + 0x20 : byte)
  }
})

t.test('foldName() is idempotent and keeps the length of every label', async () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1, maxLength: 15 }), { maxLength: 5 }), labels => {
      const text = labels.map(label => label.replaceAll('.', '-')).join('.')
      let wire = ''
      try {
        wire = parseName(text)
      } catch (error) {
        return error instanceof ResolverError
      }
      const folded = foldName(wire)
      return (
        foldName(folded) === folded &&
        folded.length === wire.length &&
        countLabels(folded) === countLabels(wire)
      )
    }),
  )
})

t.test('formatName() reads back through parseName() where no byte needs an escape', async () => {
  const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/)
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 8 }), labels => {
      const text = `${labels.join('.')}.`
      return formatName(parseName(text)) === text
    }),
  )
})

t.test('formatName() escapes as RFC 1035 does', async t => {
  t.equal(formatName(''), '.')
  t.equal(formatName('\x04c2.x\x03a\x00\xff'), 'c2\\.x.a\\000\\255.')
})

t.test('isWithin() compares whole labels', async t => {
  t.ok(isWithin(nameKey('a.wild'), nameKey('wild')))
  t.ok(isWithin(nameKey('wild'), nameKey('wild')))
  t.notOk(isWithin(nameKey('awild'), nameKey('wild')))
  t.notOk(isWithin('\x06a\x04wild', nameKey('wild')), 'a label that ends like the suffix')
})

t.test('joinNames() refuses names beyond 255 bytes', async t => {
  t.equal(joinNames('\x01a', '\x01b'), '\x01a\x01b')
  t.equal(joinNames('x'.repeat(128), 'x'.repeat(127)), undefined)
})
