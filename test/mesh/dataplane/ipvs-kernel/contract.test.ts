import t from 'tap'
import { dataplaneContract } from '../../../contract/dataplane.js'
import { openKit, timeoutMs } from './kit.js'

t.setTimeout(timeoutMs)
t.test('IpvsDataplane', { timeout: timeoutMs }, async t => {
  const kit = openKit(t)
  dataplaneContract(t, {
    name: 'ipvs',
    capabilities: {
      keepsClientAddress: true,
      livesInKernel: true,
      refused: { proxyProtocol: 'v2' },
    },
    open: place => kit.open(place),
  })
})
