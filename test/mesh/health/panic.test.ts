import fc from 'fast-check'
import t from 'tap'
import { servingSet } from '../../../mesh/health/panic.js'

/** `A` serves and is ready, `a` serves and is not, `D` drains and is ready, `d` neither. */
function replicas(letters: string) {
  return [...letters].map((letter, i) => ({
    id: `${letter}${i}`,
    isServing: letter.toLowerCase() === 'a',
    isReady: letter === letter.toUpperCase(),
  }))
}

for (const [name, letters, panic, expected, isPanic] of [
  ['the ready ones', 'AaA', true, 'A0 A2', false],
  ['no draining one, ready or not', 'ADd', true, 'A0', false],
  ['all that serve where none is ready', 'aad', true, 'a0 a1', true],
  ['those that serve where only a draining one is ready', 'aD', true, 'a0', true],
  ['none where none is ready and panic is off', 'aad', false, '', false],
  ['none where none serves', 'Dd', true, '', false],
  ['none of none', '', true, '', false],
] as const) {
  t.test(`servingSet() is ${name}`, async t => {
    const set = servingSet(replicas(letters), { panic })
    t.equal(set.replicas.map(({ id }) => id).join(' '), expected)
    t.equal(set.isPanic, isPanic)
  })
}

t.test('servingSet() panics unless told not to', async t => {
  t.equal(servingSet(replicas('a')).isPanic, true)
})

t.test(
  'servingSet() never gives traffic to one that does not serve, and to some if any does',
  async t => {
    const candidate = fc.record({ id: fc.string(), isServing: fc.boolean(), isReady: fc.boolean() })
    fc.assert(
      fc.property(fc.array(candidate), all => {
        const set = servingSet(all)
        const isAnyServing = all.some(({ isServing }) => isServing)
        return (
          set.replicas.every(({ isServing }) => isServing) &&
          set.replicas.length > 0 === isAnyServing
        )
      }),
    )
    t.pass()
  },
)
