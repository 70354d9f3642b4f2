/** IPVS for the contract, adopted by whoever opens it in the same host. */

import { mkdtempSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { IpvsDataplane } from '../../../../mesh/dataplane/ipvs/ipvs.js'
import type { IngressPlace } from '../../../../mesh/state.js'
import { openPoller } from '../../../../resolver/listen/poller.js'

export const TABLE = 'portolan_mesh'
/** For all tests of a file: programs run ten times slower in the machine. */
export const timeoutMs = 280_000

/** What opens IPVS in the namespace of the calling moment, and the file that holds its own. */
export interface IpvsKit {
  open(place: IngressPlace): IpvsDataplane
  /** Of the host of the calling moment. */
  nsPath(): string
}

export function openKit(t: Test): IpvsKit {
  const folder = mkdtempSync(join(tmpdir(), 'portolan-ipvs-'))
  const poller = openPoller()
  t.teardown(async () => {
    await poller.close()
    rmSync(folder, { recursive: true })
  })
  const nsPath = (): string =>
    join(folder, readlinkSync('/proc/thread-self/ns/net').replace(/\D/g, ''), 'ingress')
  return {
    open: place => IpvsDataplane.open({ place, table: TABLE, nsPath: nsPath(), poller }),
    nsPath,
  }
}
