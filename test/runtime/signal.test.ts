import t from 'tap'
import { parseSignal } from '../../src/runtime/index.js'

for (const [text, expected] of [
  ['SIGTERM', 15],
  ['term', 15],
  ['SIGQUIT', 3],
  ['9', 9],
  ['SIGRTMIN', 34],
  ['SIGRTMIN+3', 37],
  ['RTMAX-1', 63],
  ['SIGRTMIN-1', undefined],
  ['SIGRTMAX+1', undefined],
  ['0', undefined],
  ['65', undefined],
  ['SIGFOO', undefined],
  ['', undefined],
] as const) {
  t.test(`parseSignal() reads "${text}"`, async t => {
    t.equal(parseSignal(text), expected)
  })
}
