import fc from 'fast-check'
import t from 'tap'
import { assignSlots, type Candidate } from '../../../mesh/nft/slots.js'

const weights = fc.array(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 40 })
const draws = fc.constantFrom('random' as const, 'hash' as const)

function candidates(of: readonly number[]): Candidate[] {
  return of.map((weight, i) => ({ id: `task${i}`, weight }))
}

function countOf(slots: readonly number[], index: number): number {
  return slots.filter(one => one === index).length
}

t.test('assignSlots() keeps small weights exactly', async t => {
  const rows = [
    ['one', [1], [0]],
    ['equal', [5, 5, 5], [0, 1, 2]],
    ['3:1', [3, 1], [0, 0, 0, 1]],
    ['with a common divisor', [40, 20], [0, 0, 1]],
    ['nobody', [], []],
  ] as const
  for (const [name, of, slots] of rows)
    t.strictSame(assignSlots('random', candidates(of)), slots, name)
})

t.test('assignSlots() gives 1000 equal destinations a slot each', async t => {
  const slots = assignSlots('random', candidates(new Array<number>(1000).fill(7)))
  t.equal(slots.length, 1000)
  t.equal(new Set(slots).size, 1000)
})

t.test('assignSlots() leaves nobody out', async () => {
  fc.assert(
    fc.property(draws, weights, (draw, of) => {
      const slots = assignSlots(draw, candidates(of))
      return of.every((_, index) => slots.includes(index))
    }),
  )
})

t.test('assignSlots() gives shares by weight, to a slot', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 50, max: 150 }), { minLength: 1, maxLength: 40 }),
      of => {
        const slots = assignSlots('random', candidates(of))
        const total = of.reduce((sum, one) => sum + one, 0)
        return of.every((weight, index) => {
          const due = (weight / total) * slots.length
          return Math.abs(countOf(slots, index) - due) <= 1
        })
      },
    ),
  )
})

t.test('assignSlots() by hash gives shares by weight, nearly', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 20 }), of => {
      const slots = assignSlots('hash', candidates(of))
      const total = of.reduce((sum, one) => sum + one, 0)
      return of.every((weight, index) => {
        const due = (weight / total) * slots.length
        return Math.abs(countOf(slots, index) - due) <= 3
      })
    }),
  )
})

t.test('assignSlots() by hash is the same whatever the order', async () => {
  fc.assert(
    fc.property(weights, fc.nat(), (of, turn) => {
      const all = candidates(of)
      const cut = turn % all.length
      const turned = [...all.slice(cut), ...all.slice(0, cut)]
      const named = (list: readonly Candidate[]): (string | undefined)[] =>
        assignSlots('hash', list).map(index => list[index]?.id)
      return JSON.stringify(named(all)) === JSON.stringify(named(turned))
    }),
  )
})

t.test('assignSlots() by hash moves few slots of those who stay', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 20 }), fc.nat(), (count, which) => {
      const all = candidates(new Array<number>(count).fill(1))
      const gone = which % count
      const rest = all.filter((_, i) => i !== gone)
      const before = assignSlots('hash', all).map(index => all[index]?.id)
      const after = assignSlots('hash', rest).map(index => rest[index]?.id)
      const moved = before.filter((id, i) => id !== `task${gone}` && id !== after[i]).length
      return moved <= before.length * 0.15
    }),
  )
})
