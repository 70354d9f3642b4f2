/** What a namespace's kernel knows of connections: sockets, as ss(8) would show them. */

import type { Test } from 'tap'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { listTcpConnections, type TcpState } from '../../src/kernel/sock-diag.js'
import { until } from './replicas.js'

/** Waits until `count` connections from the client port `port` are in `state` there. */
export async function countFlows(
  t: Test,
  netns: Netns,
  state: TcpState,
  port: number,
  count: number,
): Promise<void> {
  const found = (): number =>
    runInNetns(netns, () => listTcpConnections()).filter(
      one => one.state === state && one.remotePort === port,
    ).length
  const ms = await until(`${count} connections are ${state}`, () => found() === count)
  t.comment(`${count} connections ${state} after ${Math.round(ms)} ms`)
}
