/** What node-ipvs says where the kernel has no IPVS. Where it has, that opening works. */
import { existsSync } from 'node:fs'
import { Ipvs } from 'node-ipvs'
import t from 'tap'
import { countDescriptors } from './lab.js'

/** Also true where opening loads the module: ask after it. */
const isThere = (): boolean => existsSync('/proc/net/ip_vs')

t.test('open() never goes on without the family', async t => {
  const before = countDescriptors()
  for (let i = 0; i < 100; i++) {
    try {
      Ipvs.open().close()
      t.ok(isThere(), 'it opens where the kernel has IPVS')
    } catch (error) {
      t.notOk(isThere(), 'it is refused where the kernel has none')
      t.match(error, {
        name: 'IpvsError',
        code: 'IPVS_UNAVAILABLE',
        message: /`modprobe ip_vs`/,
        cause: { code: 'ENOENT' },
      })
    }
  }
  t.equal(countDescriptors(), before, 'and no socket stays')
})

t.test('open() refuses bad options before it opens anything', async t => {
  const bad = { name: 'IpvsError', code: 'IPVS_BAD_INPUT' }
  t.throws(() => Ipvs.open({ timeoutMs: 0 }), { ...bad, message: /timeoutMs 0/ })
  t.throws(() => Ipvs.open({ timeoutMs: NaN }), { ...bad, message: /timeoutMs NaN/ })
  t.throws(() => Ipvs.open({ receiveBufferBytes: -1 }), { ...bad, message: /receiveBufferBytes/ })
  const missing = { name: 'IpvsError', code: 'ENOENT', message: /\/run\/netns\/no-such/ }
  t.throws(() => Ipvs.open({ netns: '/run/netns/no-such' }), missing)
})
