/** Published ports at [::1], which a relay of the daemon serves. */

import t from 'tap'
import type { MeshReply } from '../../src/api/contract.js'
import { asRoot, openHost } from '../lab/host.js'
import { bringUp, replica, until, untilServing } from '../lab/replicas.js'
import { ask, askUdp, tryTcp, type Route } from '../lab/traffic.js'

const composeFile = `
name: loop
services:
  web:
    scale: 2
    command: ${replica('http:80', 'udp6:82')}
    ports: ['8080:80', '8082:82/udp', '127.0.0.1:8090:80', '[::1]:8091:80']
`

t.test('published ports at [::1]', asRoot, async t => {
  const host = await openHost(t)
  await bringUp(host, 'loop', composeFile)
  await untilServing(host, 8080, 2)
  const to = (port: number): Route => ({ netns: host.netns, address: '::1', port })

  await t.test('TCP and UDP answer, and every replica has its turn', async t => {
    const names = new Set<string>()
    for (let i = 0; i < 8; i++) names.add((await ask(to(8080))).host)
    t.equal(names.size, 2)
    t.match((await askUdp(to(8082))).heard, { target: 82 })
  })

  await t.test('a port of 127.0.0.1 is not there, one of ::1 is, and is nowhere else', async t => {
    t.equal(await tryTcp(to(8090)), 'ECONNREFUSED')
    t.equal((await ask(to(8091))).target, 80)
    t.equal(await tryTcp({ ...to(8091), address: '127.0.0.1' }), 'ECONNREFUSED')
  })

  await t.test('it ends with the daemon and comes back with it', async t => {
    await host.endDaemon('SIGKILL')
    t.equal(await tryTcp(to(8080)), 'ECONNREFUSED')
    await host.startDaemon()
    await until('the relay is back', async () => (await tryTcp(to(8080))) === 'connected')
    t.equal((await ask(to(8080))).target, 80)
    const { ports } = await host.api.call<MeshReply>('GET', '/v1/mesh')
    t.ok(ports.every(({ replicas }) => replicas.every(({ state }) => state === 'ready')))
  })
})
