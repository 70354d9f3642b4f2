import t from 'tap'
import { openRouteMonitor } from '../../src/kernel/monitor.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import {
  addAddress,
  addDefaultRoute,
  createBridge,
  createVeth,
  getLink,
  listAddresses,
  listLinks,
  listRoutes,
  removeLink,
  updateLink,
} from '../../src/kernel/rtnetlink.js'
import { asRoot, ip, run } from '../drivers/lab.js'

function openSandbox(t: { teardown(body: () => void): void }): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

t.test('createNetns() leaves lo up and nothing else', asRoot, async t => {
  const netns = openSandbox(t)
  t.match(ip(netns, 'link', 'show'), [{ ifname: 'lo', flags: ['LOOPBACK', 'UP', 'LOWER_UP'] }])
})

t.test(
  'createVeth() puts the other end into its namespace, named and addressed',
  asRoot,
  async t => {
    const [here, there] = [openSandbox(t), openSandbox(t)]
    runInNetns(here, () =>
      createVeth(
        { name: 'h0', mtu: 1400 },
        { name: 'eth0', mac: '02:42:0a:00:01:05', mtu: 1400 },
        there,
      ),
    )
    t.match(ip(there, 'link', 'show', 'eth0'), [{ address: '02:42:0a:00:01:05', mtu: 1400 }])
    t.throws(() => runInNetns(here, () => createVeth({ name: 'h0' }, { name: 'e1' }, there)), {
      name: 'KernelError',
      code: 'EEXIST',
      message: /create veth "h0"/,
    })
  },
)

t.test('updateLink() sets alias, master, name and mtu as ip sees them', asRoot, async t => {
  const netns = openSandbox(t)
  runInNetns(netns, () => {
    createBridge('br0')
    createBridge('br1')
    const index = getLink('br1')?.index ?? 0
    updateLink(index, { alias: 'portolan:x:network:1', mtu: 1400, isUp: true })
  })
  t.match(ip(netns, 'link', 'show', 'br1'), [{ ifalias: 'portolan:x:network:1', mtu: 1400 }])
  t.match(
    runInNetns(netns, () => getLink('br1')),
    { alias: 'portolan:x:network:1', kind: 'bridge', isUp: true, mtu: 1400 },
  )
})

t.test(
  'addresses and default routes of both families come back as they were put',
  asRoot,
  async t => {
    const [here, there] = [openSandbox(t), openSandbox(t)]
    runInNetns(here, () => createVeth({ name: 'h0', isUp: true }, { name: 'eth0' }, there))
    runInNetns(there, () => {
      const index = getLink('eth0')?.index ?? 0
      updateLink(index, { isUp: true })
      addAddress(index, '10.0.1.5/24')
      addAddress(index, 'fd00:1::5/64')
      addDefaultRoute('10.0.1.1', index)
      addDefaultRoute('fd00:1::1', index)
      t.match(
        listAddresses(index).filter(({ scope }) => scope === 0),
        [
          { address: '10.0.1.5', prefixLength: 24 },
          { address: 'fd00:1::5', prefixLength: 64 },
        ],
      )
      const defaults = listRoutes().filter(({ destination }) => destination === undefined)
      t.strictSame(defaults.map(({ gateway }) => gateway).sort(), ['10.0.1.1', 'fd00:1::1'])
    })
    t.match(ip(there, 'route', 'show', 'default'), [{ gateway: '10.0.1.1', dev: 'eth0' }])
    t.notMatch(run(there, 'ip', '-6', 'address', 'show', 'to', 'fd00:1::5'), 'tentative')
  },
)

t.test('getLink() and removeLink() take a link that is not there for no error', asRoot, async t => {
  const netns = openSandbox(t)
  t.equal(
    runInNetns(netns, () => getLink('nosuch')),
    undefined,
  )
  t.doesNotThrow(() => runInNetns(netns, () => removeLink(4711)))
})

t.test('listLinks() is whole where the links need many datagrams', asRoot, async t => {
  const netns = openSandbox(t)
  const count = 300
  runInNetns(netns, () => {
    for (let i = 0; i < count; i++) createBridge(`b${i}`)
  })
  t.equal(runInNetns(netns, () => listLinks()).length, count + 1)
})

t.test('a route monitor hears a link come', asRoot, async t => {
  const netns = openSandbox(t)
  const monitor = runInNetns(netns, () => openRouteMonitor())
  t.teardown(() => monitor.close())
  run(netns, 'ip', 'link', 'add', 'br0', 'type', 'bridge')
  t.ok(monitor.read().messages.length > 0)
})
