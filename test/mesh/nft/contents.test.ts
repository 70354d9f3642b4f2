import t from 'tap'
import { compareContents, Contents } from '../../../mesh/nft/contents.js'
import type { Element } from '../../../mesh/nft/program.js'

const port = (key: string, data: string): Element => ({ collection: 'ports', key, data })
const own = (key: string): Element => ({ collection: 'own', key, data: '' })

t.test('Contents.plan() deletes before it adds where a key changes hands', async t => {
  const contents = new Contents([port('80', 'a'), port('81', 'b')])
  const gone = [port('80', 'a'), port('81', 'b')]
  const come = [port('80', 'b'), port('81', 'a')]
  t.strictSame(contents.plan(gone, come), { deletions: gone, additions: come })
})

t.test('Contents.plan() says nothing of what stays', async t => {
  const contents = new Contents([port('80', 'a')])
  const change = contents.plan([port('80', 'a')], [port('80', 'a'), port('81', 'a')])
  t.strictSame(change, { deletions: [], additions: [port('81', 'a')] })
})

t.test('Contents keeps what a second holder wants', async t => {
  const contents = new Contents([own('x'), own('x')])
  t.strictSame(contents.plan([own('x')], []).deletions, [])
  contents.take([own('x')], [])
  t.strictSame(contents.plan([own('x')], []).deletions, [own('x')])
})

t.test('Contents refuses one key for two things', async t => {
  const contents = new Contents([port('80', 'a')])
  t.throws(() => contents.plan([], [port('80', 'b')]), { code: 'MESH_BAD_SERVICE' })
  t.throws(() => contents.hold([port('80', 'b')]), { code: 'MESH_BAD_SERVICE' })
})

t.test('compareContents() tells both ways', async t => {
  const from = new Contents([port('80', 'a'), port('81', 'a')])
  const to = new Contents([port('81', 'b'), port('82', 'a')])
  t.strictSame(compareContents(from, to), {
    deletions: [port('80', 'a'), port('81', 'a')],
    additions: [port('81', 'b'), port('82', 'a')],
  })
})
