/** What programs many services: our dataplanes, and the layout of a chain for each service. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IpvsDataplane } from '../mesh/dataplane/ipvs/ipvs.js'
import { Mesh } from '../mesh/mesh.js'
import { NftablesDataplane } from '../mesh/dataplane/nftables/nftables.js'
import { runInNetns, type Netns } from '../src/kernel/netns.js'
import { PLACE } from '../test/lab/mesh-host.js'
import { ChainLayout } from './programming-chains.js'
import type { Dataplane } from '../mesh/dataplane/dataplane.js'
import type { MeshState } from '../mesh/state.js'

export interface Subject {
  readonly name: string
  readonly isPeer: boolean
  open(host: Netns): Promise<Opened>
}

export interface Opened {
  /** Services that stay are the same objects as before. */
  update(services: MeshState): Promise<void>
  /** As the next process would, of what this one leaves. Milliseconds. */
  takeOver?(services: MeshState): Promise<number>
  close(): Promise<void>
}

const TABLE = 'portolan_mesh'

export const subjects: readonly Subject[] = [
  { name: 'nftables', isPeer: false, open: host => openMesh(host, openNftables) },
  { name: 'ipvs', isPeer: false, open: openIpvs },
  { name: 'chains', isPeer: true, open: openChains },
]

async function openMesh(host: Netns, open: () => Dataplane): Promise<Opened> {
  const openIn = (): Dataplane => runInNetns(host, open)
  let mesh = await Mesh.open({ dataplane: openIn() })
  return {
    update: services => mesh.update(services),
    takeOver: async services => {
      await mesh.close()
      const startedAt = performance.now()
      mesh = await Mesh.open({ dataplane: openIn(), services })
      const elapsed = performance.now() - startedAt
      const differences = await mesh.reconcile()
      if (differences > 0) throw new Error(`Taking over left ${differences} differences`)
      return elapsed
    },
    close: () => mesh.remove(),
  }
}

function openNftables(): Dataplane {
  return NftablesDataplane.open({ place: PLACE, table: TABLE })
}

async function openIpvs(host: Netns): Promise<Opened> {
  const folder = mkdtempSync(join(tmpdir(), 'programming-bench-'))
  const nsPath = join(folder, 'ingress')
  const opened = await openMesh(host, () =>
    IpvsDataplane.open({ place: PLACE, table: TABLE, nsPath }),
  )
  return {
    ...opened,
    close: async () => {
      await opened.close()
      rmSync(folder, { recursive: true })
    },
  }
}

function openChains(host: Netns): Promise<Opened> {
  const layout = runInNetns(host, () => new ChainLayout())
  return Promise.resolve({
    update: services => Promise.resolve(runInNetns(host, () => layout.update(services))),
    close: () => Promise.resolve(runInNetns(host, () => layout.remove())),
  })
}
