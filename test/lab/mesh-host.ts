/**
 * A host of the test's own with an ingress network: the host, a client outside, and tasks, each a
 * namespace. Tasks have eth0 on a front network and ingress0, and serve from this process.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import {
  addAddress,
  addDefaultRoute,
  createBridge,
  createVeth,
  getLink,
  setPortIsolated,
  updateLink,
} from '../../src/kernel/rtnetlink.js'
import { openTcpListener, openUdpSocket } from '../../src/kernel/socket.js'
import { writeSysctl } from '../../src/kernel/sysctl.js'
import { reconcileIngress, type SandboxIngress } from '../../mesh/sandbox/ingress.js'
import type { Destination, IngressPlace } from '../../mesh/state.js'

/** RFC 5737 and RFC 3849; `second` is another address of the host. */
export const HOST = { v4: '192.0.2.1', v6: '2001:db8::1', second: '192.0.2.3' } as const
export const CLIENT = { v4: '192.0.2.2', v6: '2001:db8::2', others: 40 } as const
export const PLACE: IngressPlace = {
  bridge: 'ingress',
  subnet4: '10.99.0.0/24',
  subnet6: 'fd00:99::/64',
  host: { id: 1, mac: '02:42:0a:63:00:01', ipv4: '10.99.0.1', ipv6: 'fd00:99::1' },
  ipvs: { id: 2, mac: '02:42:0a:63:00:02', ipv4: '10.99.0.2', ipv6: 'fd00:99::2' },
  ipvsLink: 'ipvs0',
}
const FRONT = { bridge: 'front', v4: '10.0.1', v6: 'fd00:1:' }
/** What every task serves at, TCP and UDP. */
export const TARGETS = [80, 81, 82] as const
/** 8080 and 8081 lead to 80, 9090 to 81; 7000-7004 all to 80; 7100-7102 to 80, 81, 82. */
const PUBLISHED: SandboxIngress['targets'] = (['tcp', 'udp'] as const).flatMap(protocol => [
  { protocol, first: 8080, last: 8080, target: 80, kind: 'offset' },
  { protocol, first: 8081, last: 8081, target: 80, kind: 'offset' },
  { protocol, first: 9090, last: 9090, target: 81, kind: 'offset' },
  { protocol, first: 7000, last: 7004, target: 80, kind: 'single' },
  { protocol, first: 7100, last: 7102, target: 80, kind: 'offset' },
])

/** What a task says to whoever comes, as a line of JSON; then TCP echoes. */
export interface Answer {
  readonly task: string
  /** Where the program listens. */
  readonly target: number
  readonly peer: string
  readonly peerPort: number
}

export interface Task {
  readonly id: string
  readonly netns: Netns
  /** Of eth0. */
  readonly ipv4: string
  readonly ipv6: string
  destination(weight?: number): Destination
}

export interface MeshHost {
  readonly host: Netns
  readonly client: Netns
  readonly tasks: readonly Task[]
  /** Runs in the host's namespace, where a daemon would. */
  at<T>(body: () => T): T
}

/** A host with `count` tasks that serve. Gone with the test. */
export async function openMeshHost(t: Test, count: number): Promise<MeshHost> {
  const made: Netns[] = []
  const fresh = (): Netns => {
    const netns = createNetns()
    made.push(netns)
    return netns
  }
  t.teardown(() => made.forEach(closeNetns))
  const [host, client] = [fresh(), fresh()]
  const at = <T>(body: () => T): T => runInNetns(host, body)
  at(() => buildHost(client))
  runInNetns(client, () => {
    bringUp('eth0', [`${CLIENT.v4}/24`, `${CLIENT.v6}/64`])
    const index = indexOf('eth0')
    for (let i = 0; i < CLIENT.others; i++) addAddress(index, `192.0.2.${100 + i}/24`)
  })
  const tasks: Task[] = []
  for (let i = 0; i < count; i++) tasks.push(await openTask(t, at, fresh(), i))
  return { host, client, tasks, at }
}

function buildHost(client: Netns): void {
  writeSysctl('net.ipv4.ip_forward', '1')
  writeSysctl('net.ipv6.conf.all.forwarding', '1')
  createVeth({ name: 'outside' }, { name: 'eth0' }, client)
  createBridge(FRONT.bridge)
  createBridge(PLACE.bridge, { mac: PLACE.host.mac })
  bringUp('outside', [`${HOST.v4}/24`, `${HOST.second}/24`, `${HOST.v6}/64`])
  bringUp(FRONT.bridge, [`${FRONT.v4}.1/24`, `${FRONT.v6}:1/64`])
  bringUp(PLACE.bridge, [`${PLACE.host.ipv4}/24`, `${PLACE.host.ipv6}/64`])
}

async function openTask(
  t: Test,
  at: <T>(body: () => T) => T,
  netns: Netns,
  index: number,
): Promise<Task> {
  const [id, n] = [`task${index}`, index + 10]
  at(() => {
    for (const [bridge, end] of [
      [FRONT.bridge, 'eth0'],
      [PLACE.bridge, 'ingress0'],
    ] as const) {
      const name = `${end.slice(0, 3)}${n}`
      createVeth({ name, master: indexOf(bridge), isUp: true }, { name: end }, netns)
    }
    setPortIsolated(indexOf(`ing${n}`), true)
  })
  const [ipv4, ipv6] = [`${FRONT.v4}.${n}`, `${FRONT.v6}:${n}`]
  const ingress = { ipv4: `10.99.0.${n}`, ipv6: `fd00:99::${n}` }
  runInNetns(netns, () => {
    bringUp('eth0', [`${ipv4}/24`, `${ipv6}/64`])
    bringUp('ingress0', [`${ingress.ipv4}/24`, `${ingress.ipv6}/64`])
    addDefaultRoute(`${FRONT.v4}.1`, indexOf('eth0'))
    addDefaultRoute(`${FRONT.v6}:1`, indexOf('eth0'))
    reconcileIngress(ingressOf({ ipv4, ipv6 }, ingress))
  })
  for (const target of TARGETS) await serve(t, netns, id, target)
  const destination = (weight = 1): Destination => ({
    ...{ id, ...ingress, weight, ownAddresses: [ipv4, ipv6] },
  })
  return { id, netns, ipv4, ipv6, destination }
}

/** What the sandbox of a task is told. */
export function ingressOf(
  own: { readonly ipv4: string; readonly ipv6: string },
  ingress: { readonly ipv4: string; readonly ipv6: string },
): SandboxIngress {
  return {
    interfaceName: 'ingress0',
    points: [PLACE.host, PLACE.ipvs],
    ingress: { ...ingress, subnet4: '10.99.0.0/24', subnet6: 'fd00:99::/64' },
    ownSubnets: [
      { subnet: `${FRONT.v4}.0/24`, address: own.ipv4 },
      { subnet: `${FRONT.v6}:/64`, address: own.ipv6 },
    ],
    defaultAddress4: own.ipv4,
    defaultAddress6: own.ipv6,
    targets: PUBLISHED,
  }
}

/** One TCP listener and one UDP socket for both families, as most programs have. */
async function serve(t: Test, netns: Netns, task: string, target: number): Promise<void> {
  const place = { address: '::', port: target }
  const listener = runInNetns(netns, () => openTcpListener({ ...place, backlog: 128 }))
  const datagrams = runInNetns(netns, () => openUdpSocket(place))
  const describe = (peer: string, peerPort: number): string =>
    `${JSON.stringify({ task, target, peer: peer.replace('::ffff:', ''), peerPort } satisfies Answer)}\n`
  const living = new Set<Socket>()
  const tcp: Server = createServer(socket => {
    living.add(socket)
    socket.on('close', () => living.delete(socket))
    // A client that went without a word is no failure of the server's.
    socket.on('error', () => socket.destroy())
    socket.write(describe(socket.remoteAddress ?? '', socket.remotePort ?? 0))
    socket.pipe(socket)
  })
  tcp.listen({ fd: listener.fd })
  const udp: UdpSocket = createSocket('udp6')
  udp.on('message', (_, from) =>
    udp.send(describe(from.address, from.port), from.port, from.address),
  )
  await new Promise<void>(resolve => udp.bind({ fd: datagrams.fd }, resolve))
  t.teardown(() => {
    for (const socket of living) socket.destroy()
    tcp.close()
    udp.close()
  })
}

function bringUp(name: string, addresses: readonly string[]): void {
  const index = indexOf(name)
  for (const address of addresses) addAddress(index, address)
  updateLink(index, { isUp: true })
}

function indexOf(name: string): number {
  const link = getLink(name)
  if (link === undefined) throw new Error(`no link ${name}`)
  return link.index
}
