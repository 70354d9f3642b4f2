import t from 'tap'
import { openNftMonitor } from '../../src/kernel/monitor.js'
import { NftNews, ownNftPid } from '../../src/kernel/nft-news.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import { runNft } from '../../src/kernel/nft.js'
import { asRoot, run } from '../drivers/lab.js'

interface Ear {
  readonly netns: Netns
  hear(): readonly string[]
}

function openEar(t: { teardown(body: () => void): void }): Ear {
  const netns = createNetns()
  const monitor = runInNetns(netns, () => openNftMonitor())
  const news = new NftNews(ownNftPid())
  t.teardown(() => {
    monitor.close()
    closeNetns(netns)
  })
  return { netns, hear: () => [...news.read(monitor.read().messages)] }
}

t.test('NftNews names the tables that another process touched', asRoot, async t => {
  const { netns, hear } = openEar(t)
  runInNetns(netns, () => runNft('table inet ours {\n set s { type inet_service; }\n}'))
  t.strictSame(hear(), [], 'our own transactions are no news')
  const foreign: readonly (readonly [string, readonly string[]])[] = [
    ['add table inet theirs', ['theirs']],
    ['add element inet ours s { 53 }', ['ours']],
    ['add chain inet ours c', ['ours']],
    ['add rule inet ours c accept', ['ours']],
    ['flush set inet ours s', ['ours']],
    ['flush ruleset', ['ours', 'theirs']],
  ]
  for (const [command, tables] of foreign) {
    run(netns, 'nft', command)
    t.strictSame([...hear()].sort(), tables, command)
  }
})

t.test('NftNews tells transactions apart that come together', asRoot, async t => {
  const { netns, hear } = openEar(t)
  run(netns, 'nft', 'add table inet theirs')
  runInNetns(netns, () => runNft('table inet ours { }'))
  t.strictSame(hear(), ['theirs'])
})
