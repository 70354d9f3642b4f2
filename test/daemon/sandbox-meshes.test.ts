import t from 'tap'
import { silentLogger } from '../../src/base/log.js'
import { SandboxMeshes } from '../../src/daemon/sandbox-meshes.js'
import { closeNetns, createNetns, runInNetns } from '../../src/kernel/netns.js'
import { listTables, runNft } from '../../src/kernel/nft.js'
import { asRoot } from '../drivers/lab.js'
import {
  allocation,
  container,
  endpoint,
  network,
  project,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1)
const web = container('shop-web-1', {
  project: 'shop',
  service: 'web',
  endpoints: [endpoint('web-1', front, 2)],
})
const gone = container('gone', { endpoints: [endpoint('gone', front, 3)] })

t.test('every sandbox that one change concerns is written, however fast', asRoot, async t => {
  const snapshot = snapshotOf({
    networks: [front],
    containers: [web],
    projects: [project('shop', [service('web')])],
    allocations: [allocation('shop', 'web', { vips: { [front.id]: { ipv4: '10.0.1.9/24' } } })],
  })
  const logger = silentLogger
  const meshes = new SandboxMeshes({ state: { snapshot }, place: () => undefined, logger })
  const [first, second] = [createNetns(), createNetns()]
  t.teardown(() => [first, second].forEach(closeNetns))
  meshes.load(snapshot)
  meshes.open(gone, first)
  meshes.open(web, second)
  const hasTable = (): boolean =>
    runInNetns(second, () => listTables().some(({ name }) => name === 'portolan_vip'))
  t.ok(hasTable())
  runInNetns(second, () => runNft('flush ruleset'))
  // The first is done at once: it has no record any more.
  meshes.restore(gone.id)
  meshes.restore(web.id)
  await meshes.settled()
  t.ok(hasTable())
})
