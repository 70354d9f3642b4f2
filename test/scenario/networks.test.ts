/** Section C of the resolver's specification: names across networks, and which network answers. */

import t from 'tap'
import { assertCovers } from '../lab/coverage.js'
import { asRoot } from '../lab/host.js'
import { runVectors, type Vector } from '../lab/vector.js'
import { openWorld } from '../lab/world.js'

const vectors: readonly Vector[] = [
  { n: 65, from: 'c1', ask: 'c2.net1 A', expect: '172.30.1.3' },
  { n: 66, from: 'c1', ask: 'c2.NET1 A', expect: '172.30.1.3' },
  { n: 67, from: 'c1', ask: 'c2.net2 A', expect: 'NXDOMAIN' },
  { n: 68, from: 'c2', ask: 'c2.net2 A', expect: '172.30.2.2' },
  { n: 69, from: 'c2', ask: 'c2 A', expect: '172.30.2.2' },
  { n: 70, from: 'd1', ask: 'd1.my.net A', expect: '172.30.5.2' },
  { n: 71, from: 'd1', ask: 'nosuch.my.net A', expect: 'FWD NXDOMAIN' },
  { n: 72, from: 'c1', ask: 'nosuch.net1 A', expect: 'NXDOMAIN' },
  { n: 73, from: 'c1', ask: 'c2.net1.net1 A', expect: 'NXDOMAIN' },
  { n: 74, from: 'cli', ask: 'two A', expect: '172.30.11.2' },
  { n: 75, from: 'clip', ask: 'two A', expect: '172.30.12.2' },
  { n: 76, from: 'cli', ask: 'dup A', expect: '172.30.11.2' },
  { n: 77, from: 'cli', ask: 'dup.bbb A', expect: '{172.30.12.2, 172.30.12.3}' },
  { n: 78, from: 'clip', ask: 'dup A', expect: '{172.30.12.2, 172.30.12.3}' },
  { n: 79, from: 'ext', ask: 'dup A', expect: '{172.30.12.2, 172.30.12.3}' },
  { n: 80, from: 'ext', ask: 'dup.int2 A', expect: '172.30.13.2' },
]

t.test('C. Networks', asRoot, async t => {
  const host = await openWorld(t)
  runVectors(t, host, vectors)
  assertCovers(
    t,
    'networks',
    vectors.map(({ n }) => n),
  )
})
