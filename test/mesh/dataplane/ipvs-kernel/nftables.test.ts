/** The other dataplane of the kernel's on this kernel, which is older than those it is built on. */

import t from 'tap'
import { NftablesDataplane } from '../../../../mesh/dataplane/nftables/nftables.js'
import { openPoller } from '../../../../resolver/listen/poller.js'
import { dataplaneContract } from '../../../contract/dataplane.js'
import { TABLE, timeoutMs } from './kit.js'

t.setTimeout(timeoutMs)
t.test('NftablesDataplane', { timeout: timeoutMs }, async t => {
  const poller = openPoller()
  t.teardown(() => poller.close())
  dataplaneContract(t, {
    name: 'nftables',
    capabilities: { keepsClientAddress: true, livesInKernel: true, refused: { scheduler: 'lc' } },
    open: place => NftablesDataplane.open({ place, table: TABLE, poller }),
  })
})
