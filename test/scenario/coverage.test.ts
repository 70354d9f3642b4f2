import t from 'tap'
import { firstVector, lastVector, LATER, RUN } from '../lab/coverage.js'

t.test('every vector of the specification is run or waits for something named', async t => {
  const run = Object.values(RUN).flat()
  const later = LATER.flatMap(({ vectors }) => vectors)
  const all = [...run, ...later].sort((a, b) => a - b)
  const expected = Array.from({ length: lastVector }, (_, i) => firstVector + i)
  t.strictSame(all, expected)
})
