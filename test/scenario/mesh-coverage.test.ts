import t from 'tap'
import { firstScenario, lastScenario, LATER, RUN } from '../lab/mesh-coverage.js'

t.test('every scenario of the mesh is run or waits for something named', async t => {
  const run = new Set<number>(Object.values(RUN).flat())
  const later = LATER.flatMap(({ scenarios }) => scenarios)
  const all = [...run, ...later].sort((a, b) => a - b)
  const expected = Array.from({ length: lastScenario }, (_, i) => firstScenario + i)
  t.strictSame(all, expected)
})
