import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import { isPinnedTo, openPinned, pinNetns, unpinNetns } from '../../src/kernel/pin.js'
import { createBridge, getLink } from '../../src/kernel/rtnetlink.js'
import { asRoot } from '../drivers/lab.js'

function pathOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'portolan-pin-'))
  const path = join(folder, 'below', 'it')
  t.teardown(() => {
    unpinNetns(path)
    rmSync(folder, { recursive: true })
  })
  return path
}

function fresh(t: Test): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

t.test('pinNetns() holds a namespace that nobody has open', asRoot, async t => {
  const path = pathOf(t)
  const netns = createNetns()
  runInNetns(netns, () => createBridge('mark'))
  pinNetns(netns, path)
  closeNetns(netns)
  const found = openPinned(path)
  if (found === undefined) throw new Error('it is not held')
  t.teardown(() => closeNetns(found))
  t.equal(found.id, netns.id)
  t.ok(runInNetns(found, () => getLink('mark')))
})

t.test('pinNetns() takes the place of another and of a file without a mount', asRoot, async t => {
  const path = pathOf(t)
  const [first, second] = [fresh(t), fresh(t)]
  pinNetns(first, path)
  pinNetns(second, path)
  t.ok(isPinnedTo(second, path))
  t.notOk(isPinnedTo(first, path))
  unpinNetns(path)
  writeFileSync(path, '')
  t.equal(openPinned(path), undefined)
  pinNetns(first, path)
  t.ok(isPinnedTo(first, path))
})

t.test('unpinNetns() leaves nothing, and takes nothing for an answer', asRoot, async t => {
  const path = pathOf(t)
  pinNetns(fresh(t), path)
  unpinNetns(path)
  t.notOk(existsSync(path))
  unpinNetns(path)
  t.equal(openPinned(path), undefined)
})
