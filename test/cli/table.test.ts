import t from 'tap'
import { formatTable } from '../../src/cli/table.js'

t.test('formatTable() makes columns as wide as their widest cell and trims the end', async t => {
  const rows = [
    ['web', 'running'],
    ['a-longer-name', ''],
  ]
  t.equal(
    formatTable(['NAME', 'STATE'], rows),
    ['NAME           STATE', 'web            running', 'a-longer-name'].join('\n'),
  )
})

t.test('formatTable() of no rows is its header', async t => {
  t.equal(formatTable(['NAME', 'STATE'], []), 'NAME  STATE')
})
