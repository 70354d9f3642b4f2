import t from 'tap'
import { NftablesDataplane } from '../../../mesh/dataplane/nftables/nftables.js'
import { openPoller } from '../../../resolver/listen/poller.js'
import { dataplaneContract } from '../../contract/dataplane.js'
import { asRoot } from '../../drivers/lab.js'

t.test('NftablesDataplane', asRoot, async t => {
  const poller = openPoller()
  t.teardown(() => poller.close())
  dataplaneContract(t, {
    name: 'nftables',
    capabilities: {
      keepsClientAddress: true,
      livesInKernel: true,
      refused: { scheduler: 'lc' },
    },
    open: place => NftablesDataplane.open({ place, table: 'portolan_mesh', poller }),
  })
})
