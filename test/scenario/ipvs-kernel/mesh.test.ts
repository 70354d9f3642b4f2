/** Published ports and virtual addresses as users meet them, on a kernel with IPVS. One host, one project. */

import { spawnSync } from 'node:child_process'
import t from 'tap'
import type { MeshReply, ServiceView, TraceReply } from '../../../src/api/contract.js'
import { runInNetns } from '../../../src/kernel/netns.js'
import { writeSysctl } from '../../../src/kernel/sysctl.js'
import { asRoot, openHost } from '../../lab/host.js'
import { LoopClient } from '../../lab/http-client.js'
import { clientAddress, hostAddress, joinOutside } from '../../lab/outside-client.js'
import {
  addressOf,
  bringUp,
  hostName,
  replica,
  replicasOf,
  untilServing,
} from '../../lab/replicas.js'
import { ask, askUdp, Talk, tryTcp, type Route } from '../../lab/traffic.js'

const composeFile = `
name: shop
services:
  web:
    scale: 3
    command: ${replica('http:80', 'echo:81', 'udp:82')}
    ports: ['8080:80', '8180:80', '8081:81', '8082:82/udp']
    networks: [front]
    labels: { portolan.drain: 20s }
  box: { command: [sleep, infinity], networks: [front] }
networks:
  front: { enable_ipv6: true }
`

t.test('the mesh over IPVS', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  // As a Docker Engine leaves a host: what is bridged passes the rules for what is routed, too.
  spawnSync('/usr/sbin/modprobe', ['br_netfilter'])
  runInNetns(host.netns, () => {
    for (const family of ['iptables', 'ip6tables']) {
      writeSysctl(`net.bridge.bridge-nf-call-${family}`, '1')
    }
  })
  await bringUp(host, 'shop', composeFile)
  await untilServing(host, 8080, 3)
  const web = await replicasOf(host, 'web')
  const [box] = await replicasOf(host, 'box')
  if (box === undefined) throw new Error('A container is missing')
  // Not by the command line: a process more costs seconds here.
  const post = (path: string, body: object): Promise<void> =>
    host.api.stream('POST', path, body, () => undefined)
  const to = (port: number, address: string = hostAddress.v4): Route => ({ netns, address, port })

  await t.test('auto chooses ipvs and says why', async t => {
    const { dataplane } = await host.api.call<MeshReply>('GET', '/v1/mesh')
    t.equal(dataplane.kind, 'ipvs')
    t.match(dataplane.reason, /^ipvs, /)
  })

  await t.test('round robin: each replica in turn, the client as it is, TCP and IPv6', async t => {
    const seen: string[] = []
    for (let i = 0; i < 6; i++) {
      const { address, port, fromPort, host: name } = await ask(to(8080))
      t.strictSame([address, port], [clientAddress.v4, fromPort])
      seen.push(name)
    }
    t.strictSame(seen.slice(0, 3), seen.slice(3), 'the same order again')
    t.strictSame(new Set(seen), new Set(web.map(hostName)))
    const { address, port, fromPort } = await ask(to(8080, hostAddress.v6))
    t.strictSame([address, port], [clientAddress.v6, fromPort])
  })

  await t.test('UDP, a second published port, and the loopback address', async t => {
    const { heard, fromPort } = await askUdp(to(8082))
    t.match(heard, { address: clientAddress.v4, port: fromPort, target: 82 })
    t.equal((await ask(to(8180))).target, 80)
    const local = await ask({ netns: host.netns, address: '127.0.0.1', port: 8080 })
    t.equal(local.target, 80)
  })

  await t.test('one client port to two published ports of one service', async t => {
    const first = await Talk.open({ ...to(8081), fromPort: 45_000 })
    const second = await ask({ ...to(8180), fromPort: 45_000 })
    t.equal(second.target, 80)
    await first.echo('still here')
    first.socket.destroy()
  })

  await t.test('a container to a published port and to the virtual address', async t => {
    const from = await host.netnsOf(box.name)
    const outside = await ask({ netns: from, address: hostAddress.v4, port: 8080 })
    t.equal(outside.address, addressOf(box))
    const services = await host.api.call<readonly ServiceView[]>('GET', '/v1/services')
    const vip = services.find(({ name }) => name === 'web')?.vips[0]?.ipv4 ?? ''
    const inside = await ask({ netns: from, address: vip, port: 80 })
    t.equal(inside.address, addressOf(box))
  })

  await t.test('lc is done, and a trace names IPVS and the replicas', async t => {
    await post('/v1/services/web/update', { scheduler: 'lc' })
    const { hops } = await host.api.call<TraceReply>('GET', '/v1/mesh/trace?port=8080')
    const text = hops.map(({ where, what }) => `${where}: ${what}`).join('\n')
    t.match(text, /IPVS/)
    t.match(text, /\blc\b/)
    for (const { name } of web) t.match(text, name)
    await post('/v1/services/web/update', { scheduler: 'rr' })
  })

  await t.test('nothing fails while it is scaled, drained and its daemon is killed', async t => {
    const loop = new LoopClient(t, to(8080))
    await loop.answers(20)
    await post('/v1/projects/shop/scale', { replicas: { web: 4 } })
    await post('/v1/containers/shop-web-1/drain', { isUndone: false })
    await post('/v1/containers/shop-web-1/drain', { isUndone: true })
    await post('/v1/projects/shop/scale', { replicas: { web: 2 } })
    await host.endDaemon('SIGKILL')
    await loop.answers(20)
    await host.startDaemon()
    await loop.answers(20)
    t.strictSame((await loop.finish()).failures, {})
  })

  await t.test('down leaves no namespace and no port', async t => {
    await host.api.stream('DELETE', '/v1/projects/shop', undefined, () => undefined)
    t.equal(await tryTcp(to(8080)), 'ECONNREFUSED')
  })
})
