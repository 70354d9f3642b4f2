import { existsSync } from 'node:fs'
import { release } from 'node:os'
import t from 'tap'
import { probeFeatures } from '../../src/kernel/features.js'
import { ipvsState, listsIpvs } from '../../src/kernel/module.js'
import { listTables } from '../../src/kernel/nft.js'
import { asRoot } from '../drivers/lab.js'

t.test(
  'probeFeatures() tells what is there, or how to get it, and leaves nothing',
  asRoot,
  async t => {
    const before = JSON.stringify(listTables())
    const features = new Map(probeFeatures().map(feature => [feature.name, feature]))
    t.match(features.get('kernel'), { isAvailable: true, detail: release() })
    for (const name of [
      'network namespaces',
      'nftables',
      'connection tracking netlink',
      'connection tracking zones',
      'socket destroy',
      'IPVS',
    ]) {
      const feature = features.get(name)
      t.ok(feature !== undefined && feature.detail.length > 0, name)
      // An unexpected refusal would show as advice behind a sentence that has no cause in it.
      t.notMatch(feature?.detail, /EINVAL|syntax/)
    }
    t.equal(JSON.stringify(listTables()), before)
  },
)

t.test('ipvsState() agrees with the kernel', async t => {
  const isThere = existsSync('/proc/net/ip_vs')
  t.equal(ipvsState() === 'loaded', isThere)
})

const lists: readonly (readonly [string, string, boolean])[] = [
  ['nothing', '', false],
  ['the module', 'kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/nf_conntrack.ko\n', true],
  ['the module, compressed', 'kernel/net/a.ko.xz:\nkernel/net/netfilter/ipvs/ip_vs.ko.xz: b', true],
  ['a part of the kernel', 'kernel/net/netfilter/ipvs/ip_vs.ko\n', true],
  ['a scheduler only', 'kernel/net/netfilter/ipvs/ip_vs_rr.ko:\n', false],
  ['what needs it only', 'kernel/net/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko', false],
]
for (const [name, list, expected] of lists) {
  t.test(`listsIpvs() where the list names ${name}`, async t => {
    t.equal(listsIpvs(list), expected)
  })
}
