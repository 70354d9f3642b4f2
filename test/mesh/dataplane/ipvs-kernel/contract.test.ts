import t from 'tap'
import { dataplaneContract } from '../../../contract/dataplane.js'
import { openKit } from './kit.js'

/** Of the whole suite: programs run ten times slower in the machine. */
const timeoutMs = 240_000

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
