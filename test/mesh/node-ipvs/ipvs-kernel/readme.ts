/** The example of node-ipvs's README does what it says. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { runInNetns } from '../../../../src/kernel/netns.js'
import { findRoot } from '../../../rules/source.js'
import { openNamespace, saveThere } from '../lab.js'

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

t.test('the example runs, prints what it shows, and leaves nothing', async t => {
  const readme = readFileSync(`${findRoot()}/mesh/node-ipvs/README.md`, 'utf8')
  const blockOf = (language: string): string | undefined =>
    new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(readme)?.[1]
  const [program, shown] = [blockOf('js'), blockOf('text')]
  if (program === undefined || shown === undefined) throw new Error('the README has no example')
  const netns = openNamespace(t)
  const { stdout, stderr, status } = runInNetns(netns, () =>
    spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      cwd: findRoot(),
      encoding: 'utf8',
    }),
  )
  t.equal(stderr, '')
  t.equal(status, 0)
  t.equal(stdout, shown)
  t.strictSame(saveThere(netns), [])
})
