/** Section D of the resolver's specification: from addresses to names. */

import t from 'tap'
import { assertCovers } from '../lab/coverage.js'
import { asRoot } from '../lab/host.js'
import { reverseName, runVectors, type Vector } from '../lab/vector.js'
import { openWorld } from '../lab/world.js'

const c2v6 = reverseName('fd00:2::2')

const vectors: readonly Vector[] = [
  { n: 86, from: 'c1', ask: '3.1.30.172.in-addr.arpa PTR', expect: 'c2.net1.' },
  { n: 87, from: 'c1', ask: '3.1.30.172.IN-ADDR.ARPA PTR', expect: 'c2.net1.' },
  { n: 88, from: 'c2', ask: `${c2v6} PTR`, expect: 'c2.net2.' },
  { n: 89, from: 'c2', ask: `${c2v6.toUpperCase()} PTR`, expect: 'c2.net2.' },
  { n: 90, from: 'c1', ask: '2.2.30.172.in-addr.arpa PTR', expect: 'NXDOMAIN' },
  { n: 91, from: 'c1', ask: '1.1.30.172.in-addr.arpa PTR', expect: 'gateway.net1.' },
  { n: 92, from: 'c1', ask: '250.1.30.172.in-addr.arpa PTR', expect: 'NXDOMAIN' },
  { n: 93, from: 'c1', ask: '1.30.172.in-addr.arpa PTR', expect: 'ND' },
  { n: 94, from: 'c1', ask: '8.8.8.8.in-addr.arpa PTR', expect: 'FWD NXDOMAIN' },
  { n: 95, from: 'c1', ask: '3.1.30.172.in-addr.arpa A', expect: 'ND' },
  { n: 96, from: 'c1', ask: '300.1.30.172.in-addr.arpa PTR', expect: 'NXDOMAIN' },
  { n: 97, from: 'c3', ask: '99.3.30.172.in-addr.arpa PTR', expect: 'NXDOMAIN', withinMs: 50 },
]

t.test('D. Reverse', asRoot, async t => {
  const host = await openWorld(t)
  runVectors(t, host, vectors)
  assertCovers(
    t,
    'reverse',
    vectors.map(({ n }) => n),
  )
})
