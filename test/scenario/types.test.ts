/** Section B of the resolver's specification: record types and classes of names that exist. */

import t from 'tap'
import { assertCovers } from '../lab/coverage.js'
import { asRoot } from '../lab/host.js'
import { runVectors, type Vector } from '../lab/vector.js'
import { openWorld } from '../lab/world.js'

const otherTypes = ['TXT', 'HTTPS', 'SVCB', 'NS', 'SOA', 'CNAME', 'CAA', 'NAPTR', 'TYPE999']

const vectors: readonly Vector[] = [
  { n: 41, from: 'c1', ask: 'c2 AAAA', expect: 'ND' },
  { n: 42, from: 'c2', ask: 'c2.net2 AAAA', expect: 'fd00:2::2' },
  { n: 43, from: 's6', ask: 's6b A', expect: 'ND' },
  { n: 44, from: 's6', ask: 's6b AAAA', expect: 'fd00:66::3' },
  { n: 45, from: 'c1', ask: 'c2 MX', expect: 'ND' },
  { n: 46, from: 's6', ask: 's6b MX', expect: 'ND' },
  ...otherTypes.map((type, i) => ({ n: 47 + i, from: 'c1', ask: `c2 ${type}`, expect: 'ND' })),
  { n: 56, from: 'c1', ask: 'c2 ANY', expect: '172.30.1.3' },
  { n: 57, from: 'c1', ask: 'c2 SRV', expect: 'ND' },
  { n: 58, from: 'c1', ask: 'c2 A CH', expect: 'REFUSED' },
  { n: 58, from: 'c1', ask: 'c2 A HS', expect: 'REFUSED' },
  { n: 58, from: 'c1', ask: 'c2 A NONE', expect: 'REFUSED' },
  { n: 58, from: 'c1', ask: 'c2 A 0', expect: 'REFUSED' },
  { n: 59, from: 'c1', ask: 'c2 A ANY', expect: '172.30.1.3' },
  { n: 60, from: 'c1', ask: 'version.bind TXT CH', expect: 'REFUSED' },
  { n: 61, from: 'c1', ask: 'c2 AXFR +tcp', expect: 'REFUSED' },
  { n: 62, from: 'c1', ask: 'c2 IXFR', expect: 'REFUSED' },
  { n: 63, from: 'c1', ask: '. NS', expect: 'FWD NOERROR without answers or SOA' },
  { n: 64, from: 'c1', ask: 'test.example TXT', expect: 'FWD ND' },
]

t.test('B. Types', asRoot, async t => {
  const host = await openWorld(t)
  runVectors(t, host, vectors)
  assertCovers(
    t,
    'types',
    vectors.map(({ n }) => n),
  )
})
