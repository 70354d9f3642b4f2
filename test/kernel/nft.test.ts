import { closeSync, openSync } from 'node:fs'
import t from 'tap'
import { openNftMonitor } from '../../src/kernel/monitor.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import { listTables, queryNft, runNft } from '../../src/kernel/nft.js'
import { asRoot, run } from '../drivers/lab.js'

function openSandbox(t: { teardown(body: () => void): void }): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

t.test('runNft() is all or nothing', asRoot, async t => {
  const netns = openSandbox(t)
  const commands = 'table inet one { }\nadd rule inet nosuch chain accept\n'
  t.throws(() => runInNetns(netns, () => runNft(commands)), { name: 'KernelError' })
  t.equal(run(netns, 'nft', 'list', 'tables'), '')
})

t.test('runNft() tells a mistake in one line', asRoot, async t => {
  const netns = openSandbox(t)
  t.throws(() => runInNetns(netns, () => runNft('tabel inet one { }')), {
    name: 'KernelError',
    message: /^[^\n]*syntax error[^\n]*$/,
  })
})

t.test('runNft() acts on the namespace of the moment only', asRoot, async t => {
  const [one, two] = [openSandbox(t), openSandbox(t)]
  runInNetns(one, () => runNft('table inet here { }'))
  t.match(run(one, 'nft', 'list', 'tables'), 'table inet here')
  t.equal(run(two, 'nft', 'list', 'tables'), '')
  t.match(
    runInNetns(one, () => listTables()),
    [{ family: 'inet', name: 'here' }],
  )
})

t.test('queryNft() answers the elements of a set', asRoot, async t => {
  const netns = openSandbox(t)
  runInNetns(netns, () =>
    runNft('table inet one {\n set s { type inet_service; elements = { 53 } }\n}'),
  )
  const listing = runInNetns(netns, () => queryNft('list set inet one s'))
  t.match(JSON.stringify(listing), '"elem":[53]')
})

t.test('an nftables monitor hears a change, once, and never waits', asRoot, async t => {
  const netns = openSandbox(t)
  const monitor = runInNetns(netns, () => openNftMonitor())
  t.teardown(() => monitor.close())
  t.strictSame(monitor.read(), { messages: [], overrun: false })
  run(netns, 'nft', 'add table inet foreign')
  t.ok(monitor.read().messages.length > 0)
  t.strictSame(monitor.read(), { messages: [], overrun: false })
})

t.test(
  'an nftables monitor that was not read tells of the overrun and goes on',
  asRoot,
  async t => {
    const netns = openSandbox(t)
    const monitor = runInNetns(netns, () => openNftMonitor())
    t.teardown(() => monitor.close())
    runInNetns(netns, () => runNft('table inet one {\n set s { type ipv4_addr; }\n}'))
    // Far more events than any receive buffer holds.
    for (let i = 0; i < 8; i++) {
      const addresses = Array.from({ length: 4000 }, (_, n) => `10.${i}.${n >> 8}.${n & 255}`)
      runInNetns(netns, () => runNft(`add element inet one s { ${addresses.join(', ')} }`))
    }
    let hasOverrun = false
    for (let reads = 0; reads < 10_000; reads++) {
      const { messages, overrun } = monitor.read()
      hasOverrun ||= overrun
      if (messages.length === 0 && !overrun) break
    }
    t.ok(hasOverrun)
    run(netns, 'nft', 'add table inet later')
    t.ok(monitor.read().messages.length > 0, 'it still hears')
  },
)

t.test('runNft() works in a process with thousands of open descriptors', asRoot, async t => {
  const netns = openSandbox(t)
  runInNetns(netns, () => runNft('table inet first { }'))
  const many = Array.from({ length: 2_000 }, () => openSync('/dev/null', 'r'))
  t.teardown(() => many.forEach(closeSync))
  runInNetns(netns, () => runNft('table inet second { }'))
  t.equal(runInNetns(netns, () => listTables()).length, 2)
})
