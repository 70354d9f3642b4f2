/** Section A of the resolver's specification: which names a container sees. */

import t from 'tap'
import { TYPE } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { assertCovers } from '../lab/coverage.js'
import { asRoot } from '../lab/host.js'
import { askUdp } from '../lab/probe.js'
import { describeReply, formatSet } from '../lab/reply.js'
import { runVectors, type Vector } from '../lab/vector.js'
import { manyAddresses, openWorld } from '../lab/world.js'

const vectors: readonly Vector[] = [
  { n: 1, from: 'c1', ask: 'c2 A', expect: '172.30.1.3', ttl: 0 },
  { n: 2, from: 'c1', ask: 'c1 A', expect: '172.30.1.2' },
  { n: 3, from: 'c1', ask: 'C2 A', expect: '172.30.1.3' },
  { n: 4, from: 'c1', ask: 'sHaReD A', expect: '{172.30.1.2, 172.30.1.3}' },
  { n: 5, from: 'c1', ask: 'mixed A', expect: '172.30.1.3' },
  { n: 5, from: 'c1', ask: 'MIXED A', expect: '172.30.1.3' },
  { n: 6, from: 'c1', ask: id => `${id.slice(0, 12)} A`, expect: '172.30.1.3' },
  { n: 7, from: 'c1', ask: id => `${id.slice(0, 11)} A`, expect: 'FWD NXDOMAIN' },
  { n: 8, from: 'c1', ask: id => `${id.slice(0, 63)} A`, expect: 'FWD NXDOMAIN' },
  { n: 9, from: 'c2', ask: 'c1host A', expect: '172.30.1.2' },
  { n: 11, from: 'c1', ask: 'h1 A', expect: '172.30.1.6' },
  { n: 12, from: 'c1', ask: 'my.dotted.name A', expect: '172.30.1.4' },
  { n: 13, from: 'c1', ask: 'my.dotted.name.net1 A', expect: '172.30.1.4' },
  { n: 14, from: 'c1', ask: 'dotted.name A', expect: 'FWD NXDOMAIN' },
  { n: 15, from: 'c1', ask: 'c2. A', expect: '172.30.1.3' },
  { n: 16, from: 'c1', ask: 'x.wild A', expect: '172.30.1.7' },
  { n: 16, from: 'c1', ask: 'x.y.wild A', expect: '172.30.1.7' },
  { n: 17, from: 'c1', ask: 'wild A', expect: 'FWD NXDOMAIN' },
  { n: 18, from: 'c1', ask: 'x.wild AAAA', expect: 'ND wild.' },
  { n: 19, from: 'c1', ask: '*.wild A', expect: '172.30.1.7' },
  { n: 20, from: 'c1', ask: 'c3 A', expect: 'FWD NXDOMAIN' },
  { n: 21, from: 'c1', ask: 'only2 A', expect: 'FWD NXDOMAIN' },
  { n: 22, from: 'l1', ask: 'Al2 A', expect: '172.30.1.3' },
  { n: 23, from: 'l1', ask: 'al2 A', expect: '172.30.1.3' },
  { n: 24, from: 'l1', ask: 'al2.net1 A', expect: '172.30.1.3' },
  { n: 25, from: 'c1', ask: 'al2 A', expect: 'FWD NXDOMAIN' },
  { n: 26, from: 'l1', ask: 'c2 A', expect: '172.30.1.3' },
  { n: 27, from: 'linked', ask: 'c1 A', expect: '172.30.1.3' },
  { n: 28, from: 'c1', ask: 'many A +tcp', expect: formatSet(manyAddresses) },
  { n: 30, from: 'c1', ask: 'localhost A', expect: '127.0.0.1' },
  { n: 30, from: 'c1', ask: 'localhost AAAA', expect: '::1' },
  { n: 31, from: 'c1', ask: 'a.b.localhost A', expect: '127.0.0.1' },
  { n: 32, from: 'c1', ask: 'host.docker.internal A', expect: '172.30.1.1' },
  { n: 33, from: 'c2', ask: 'host.docker.internal A', expect: '172.30.2.1' },
  { n: 34, from: 'c3', ask: 'host.docker.internal A', expect: 'ND' },
  { n: 35, from: 'c1', ask: 'foo.invalid A', expect: 'NXDOMAIN' },
  { n: 36, from: 'c1', ask: 'nosuch A', expect: 'FWD NXDOMAIN' },
  { n: 37, from: 'c1', ask: 'test A', expect: 'FWD 203.0.113.10', ttl: 77 },
  { n: 38, from: 'c1', ask: 'trail A', expect: '172.30.1.9' },
  { n: 40, from: 'c1', ask: 'under_score A', expect: '172.30.1.9' },
]

/** Chi-square with 44 degrees of freedom exceeds it once in a million shuffles that are fair. */
const chiSquareBound = 104
/** So many that a fair shuffle misses an address as first one once in a million runs. */
const rounds = 800

t.test('A. Names', asRoot, async t => {
  const host = await openWorld(t, { isMany: true })
  runVectors(t, host, vectors)

  t.test('3: the owner is spelled as asked', async t => {
    const { reply } = await askUdp(
      await host.netnsOf('c1'),
      composeQuery({ name: 'C2', type: TYPE.A }),
    )
    const { question, answers } = parseMessage(reply ?? Buffer.alloc(0))
    t.equal(question?.name, 'C2.')
    t.strictSame(
      answers.map(({ name }) => name),
      ['C2.'],
    )
  })

  t.test('10: c1 asks c2 A 50 times and never gets the container whose hostname is c2', async t => {
    const netns = await host.netnsOf('c1')
    const said = new Set<string>()
    for (let i = 0; i < 50; i++) {
      const { reply } = await askUdp(netns, composeQuery({ name: 'c2', type: TYPE.A, id: i }))
      said.add(describeReply(parseMessage(reply ?? Buffer.alloc(0)), false))
    }
    t.strictSame([...said], ['172.30.1.3'])
  })

  t.test('29: each of 45 addresses comes first equally often', async t => {
    const netns = await host.netnsOf('c1')
    const counts = new Map(manyAddresses.map(address => [address, 0]))
    for (let i = 0; i < rounds; i++) {
      const { reply } = await askUdp(netns, composeQuery({ name: 'many', type: TYPE.A, id: i }))
      const first = parseMessage(reply ?? Buffer.alloc(0)).answers[0]?.data ?? ''
      counts.set(first, (counts.get(first) ?? 0) + 1)
    }
    const expected = rounds / counts.size
    const chiSquare = [...counts.values()].reduce(
      (sum, count) => sum + (count - expected) ** 2 / expected,
      0,
    )
    t.equal(counts.size, manyAddresses.length)
    t.notOk([...counts.values()].includes(0), 'none is never first')
    t.ok(chiSquare < chiSquareBound, `chi-square ${chiSquare}`)
  })

  t.test(
    '39: an alias of 70 characters is refused, the container resolves by its name',
    async t => {
      const alias = 'x'.repeat(70)
      const { code, stderr } = await host.cli('network', 'connect', '--alias', alias, 'net2', 'h1')
      t.equal(code, 1)
      t.match(stderr, /DNS allows 63/)
      const { reply } = await askUdp(
        await host.netnsOf('c1'),
        composeQuery({ name: 'h1', type: TYPE.A }),
      )
      t.equal(describeReply(parseMessage(reply ?? Buffer.alloc(0)), false), '172.30.1.6')
    },
  )

  assertCovers(t, 'names', [...vectors.map(({ n }) => n), 10, 29, 39])
})
