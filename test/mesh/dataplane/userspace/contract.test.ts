import t from 'tap'
import { openNetns, runInNetns, closeNetns } from '../../../../src/kernel/netns.js'
import { BLOCK_BYTES, Block } from '../../../../mesh/dataplane/userspace/block.js'
import { processSockets } from '../../../../mesh/dataplane/userspace/socket.js'
import { UserspaceDataplane } from '../../../../mesh/dataplane/userspace/userspace.js'
import { dataplaneContract } from '../../../contract/dataplane.js'
import { asRoot } from '../../../drivers/lab.js'

t.test('UserspaceDataplane', asRoot, async t => {
  dataplaneContract(t, {
    name: 'userspace',
    capabilities: {
      keepsClientAddress: false,
      livesInKernel: false,
      refused: { ports: [{ protocol: 'sctp', first: 80, last: 80 }] },
    },
    // One process has many namespaces here: sockets are made in the one that this is called in.
    open: () => {
      const here = openNetns('/proc/thread-self/ns/net')
      t.teardown(() => closeNetns(here))
      const door = processSockets(new Block(BLOCK_BYTES))
      return new UserspaceDataplane({
        sockets: {
          bind: (...place) => runInNetns(here, () => door.bind(...place)),
          create: (...kind) => runInNetns(here, () => door.create(...kind)),
        },
      })
    },
  })
})
