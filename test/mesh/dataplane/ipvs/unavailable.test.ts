/** What IpvsDataplane says where the kernel has no IPVS. Where it has, that opening works. */

import { existsSync } from 'node:fs'
import t from 'tap'
import { IpvsDataplane } from '../../../../mesh/dataplane/ipvs/ipvs.js'
import { asRoot } from '../../../drivers/lab.js'

const place = {
  ...{ bridge: 'ingress', ipvsLink: 'ipvs0', subnet4: '10.99.0.0/24' },
  host: { id: 1, mac: '02:42:0a:63:00:01', ipv4: '10.99.0.1' },
  ipvs: { id: 2, mac: '02:42:0a:63:00:02', ipv4: '10.99.0.2' },
}

t.test('open() never passes for working where IPVS is missing', asRoot, async t => {
  try {
    await IpvsDataplane.open({ place, table: 'none', nsPath: '/nonexistent/ingress' }).close()
    t.ok(existsSync('/proc/net/ip_vs'), 'it opens where the kernel has IPVS')
  } catch (error) {
    t.notOk(existsSync('/proc/net/ip_vs'), 'it is refused where the kernel has none')
    t.match(error, { name: 'MeshError', code: 'MESH_NO_DATAPLANE', message: /nftables dataplane/ })
  }
})
