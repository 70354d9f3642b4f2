import t from 'tap'
import { adoptAliases, assignAliases } from '../../../../mesh/dataplane/ipvs/aliases.js'
import { chooseTransit, MOST_ALIASES } from '../../../../mesh/dataplane/ipvs/transit.js'

const free = { prefixes: [], own: [] }
const four = chooseTransit('ipvs0', 4, free)
const six = chooseTransit('ipvs0', 6, free)
const transit = { 4: four, 6: six }

t.test('chooseTransit() chooses the same for a link each time, and another for another', t => {
  t.strictSame(chooseTransit('ipvs0', 4, free), four)
  t.not(chooseTransit('ipvs1', 4, free).subnet, four.subnet)
  t.match(four.subnet, /^198\.1[89]\.\d+\.0\/24$/)
  t.match(six.subnet, /^fd[0-9a-f:]+\/64$/)
  t.end()
})

t.test('chooseTransit() steps aside for what the host routes, and not for its default route', t => {
  const other = chooseTransit('ipvs0', 4, { prefixes: [four.subnet, 'fd00::/64'], own: [] })
  t.not(other.subnet, four.subnet)
  t.strictSame(chooseTransit('ipvs0', 4, { prefixes: ['0.0.0.0/0'], own: [] }), four)
  t.end()
})

t.test('chooseTransit() keeps what the link has', t => {
  const own = ['fe80::1/64', '198.18.77.1/24', 'fd12:3456::1/64']
  t.equal(chooseTransit('ipvs0', 4, { prefixes: [], own }).subnet, '198.18.77.0/24')
  t.equal(chooseTransit('ipvs0', 6, { prefixes: [], own }).subnet, 'fd12:3456::/64')
  t.end()
})

t.test('chooseTransit() says who needs no link where nothing is free', t => {
  const occupied = { prefixes: ['198.18.0.0/15'], own: [] }
  t.throws(() => chooseTransit('ipvs0', 4, occupied), { code: 'MESH_NO_DATAPLANE' })
  t.end()
})

t.test('assignAliases() keeps what is assigned and fills gaps', t => {
  const first = assignAliases(new Map(), ['192.0.2.1', '192.0.2.3', '2001:db8::1'], transit)
  t.equal(new Set(first.values()).size, 3)
  t.notOk([...first.values()].includes(four.ingress))
  const second = assignAliases(first, ['192.0.2.3', '192.0.2.9'], transit)
  t.equal(second.get('192.0.2.3'), first.get('192.0.2.3'))
  t.equal(second.get('192.0.2.9'), first.get('192.0.2.1'), 'the first that is free')
  t.end()
})

t.test('assignAliases() says when there are no more', t => {
  const wanted = Array.from({ length: MOST_ALIASES + 1 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
  t.throws(() => assignAliases(new Map(), wanted, transit), { code: 'MESH_UNSUPPORTED' })
  t.end()
})

t.test('adoptAliases() reads what an earlier process assigned, and nothing foreign', t => {
  const assigned = assignAliases(new Map(), ['192.0.2.1', '2001:db8::1'], transit)
  const elements = [...assigned].map(([address, data]) => ({
    ...{ collection: 'ports4', key: `${address} . tcp . 80`, data },
  }))
  const foreign = { collection: 'ports4', key: '192.0.2.7 . tcp . 80', data: '10.0.0.1' }
  const everywhere = { collection: 'ports', key: 'tcp . 80', data: '' }
  t.strictSame(adoptAliases([...elements, foreign, everywhere], transit), assigned)
  t.end()
})
