import fc from 'fast-check'
import t from 'tap'
import { Ejections } from '../../../mesh/health/passive.js'

const [a, b] = [{ id: 'a' }, { id: 'b' }]
const both = [a, b]

/** Fails `id` until it is ejected; the number of failures that took. */
function eject(ejections: Ejections, id: string, now: number): number {
  for (let count = 1; count <= 10; count++) if (ejections.noteFailure(id, now)) return count
  throw new Error('not ejected after ten failures')
}

t.test('three failed connects in a row leave a destination out for 10 s', async t => {
  const ejections = new Ejections()
  t.equal(eject(ejections, 'a', 1000), 3)
  t.strictSame(ejections.filter(both, 1000), [b])
  t.strictSame(ejections.filter(both, 10_999), [b])
  t.strictSame(ejections.filter(both, 11_000), both)
})

t.test('a success in between starts the count again', async t => {
  const ejections = new Ejections()
  for (let i = 0; i < 10; i++) {
    t.equal(ejections.noteFailure('a', i), false)
    t.equal(ejections.noteFailure('a', i), false)
    ejections.noteSuccess('a')
  }
  t.equal(ejections.size, 0, 'nothing is kept of one that does well')
})

t.test('one more failure after the return doubles the ejection, up to 60 s', async t => {
  const ejections = new Ejections()
  eject(ejections, 'a', 0)
  const lengths: number[] = []
  for (let now = 10_000, i = 0; i < 4; i++) {
    t.equal(eject(ejections, 'a', now), 1)
    const until = ejections.ejectedUntil('a', now) ?? 0
    lengths.push(until - now)
    now = until
  }
  t.strictSame(lengths, [20_000, 40_000, 60_000, 60_000])
})

t.test('failures during an ejection do not prolong it', async t => {
  const ejections = new Ejections()
  eject(ejections, 'a', 0)
  for (let i = 0; i < 50; i++) t.equal(ejections.noteFailure('a', 5000), false)
  t.equal(ejections.ejectedUntil('a', 5000), 10_000)
})

t.test('a success ends the ejection', async t => {
  const ejections = new Ejections()
  eject(ejections, 'a', 0)
  ejections.noteSuccess('a')
  t.strictSame(ejections.filter(both, 1), both)
})

t.test('retain() forgets destinations that are no more', async t => {
  const ejections = new Ejections()
  eject(ejections, 'a', 0)
  eject(ejections, 'b', 0)
  ejections.retain(new Set(['b']))
  t.equal(ejections.size, 1)
  t.strictSame(ejections.filter(both, 1), [a])
})

t.test('filter() never leaves nobody', async t => {
  const event = fc.record({
    id: fc.constantFrom('a', 'b', 'c'),
    isFailure: fc.boolean(),
    afterMs: fc.integer({ min: 0, max: 5000 }),
  })
  const destinations = [a, b, { id: 'c' }]
  fc.assert(
    fc.property(fc.array(event, { maxLength: 100 }), events => {
      const ejections = new Ejections()
      let now = 0
      return events.every(({ id, isFailure, afterMs }) => {
        now += afterMs
        if (isFailure) ejections.noteFailure(id, now)
        else ejections.noteSuccess(id)
        return ejections.filter(destinations, now).length > 0
      })
    }),
  )
  t.pass()
})
