import fc from 'fast-check'
import t from 'tap'
import { checkDnsName, checkEntityName } from '../../src/catalog/check.js'

const refused = { code: 'CATALOG_BAD_NAME' }

t.test('checkEntityName() takes what Docker takes', async t => {
  for (const name of ['web', 'shop-web-1', 'my.dotted.name', 'under_score', 'A1', '0a']) {
    t.doesNotThrow(() => checkEntityName('container', name), name)
  }
})

t.test('checkEntityName() refuses with one sentence that names the name', async t => {
  const long = 'x'.repeat(64)
  for (const name of ['', 'a', '-web', '.web', 'we b', 'wéb', 'web/1', 'web\n', 'a..b', long]) {
    t.throws(() => checkEntityName('network', name), refused, JSON.stringify(name))
  }
  t.throws(() => checkEntityName('project', 'we b'), { message: /^"we b" cannot name a project: / })
})

t.test('checkDnsName() counts octets, not characters', async t => {
  t.doesNotThrow(() => checkDnsName('alias', 'ö'.repeat(31)))
  t.throws(() => checkDnsName('alias', 'ö'.repeat(32)), refused)
})

t.test('checkDnsName() allows 253 octets, and a final dot beside them', async t => {
  const name = [63, 63, 63, 61].map(length => 'x'.repeat(length)).join('.')
  t.doesNotThrow(() => checkDnsName('alias', name))
  t.doesNotThrow(() => checkDnsName('alias', `${name}.`))
  t.throws(() => checkDnsName('alias', `${name}x`), refused)
})

t.test('checkDnsName() takes a wildcard alias and refuses empty labels', async t => {
  t.doesNotThrow(() => checkDnsName('alias', '*.wild'))
  for (const name of ['', '.', 'a..b', '.a', 'a..']) {
    t.throws(() => checkDnsName('alias', name), refused, JSON.stringify(name))
  }
})

t.test('checkEntityName() throws nothing but its own error', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), name => {
      try {
        checkEntityName('container', name)
        return /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)
      } catch (error) {
        return error instanceof Error && 'code' in error && error.code === refused.code
      }
    }),
  )
})
