import t from 'tap'
import { parseAddress } from '../../src/base/ip.js'
import { macOf } from '../../src/ipam/index.js'

t.test('macOf() writes the IPv4 address behind 02:42', async t => {
  t.equal(macOf(parseAddress('10.0.1.254')), '02:42:0a:00:01:fe')
})

t.test('macOf() folds the interface identifier of IPv6', async t => {
  t.equal(macOf(parseAddress('fd00::5')), '02:42:00:00:00:05')
  t.equal(macOf(parseAddress('fd00::1:0:0:5')), '02:42:00:01:00:05')
})
