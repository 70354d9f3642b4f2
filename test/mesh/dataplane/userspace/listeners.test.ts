/** Which sockets a change opens and closes, and that a change which cannot hold leaves no trace. */

import { createServer } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import {
  askTcp,
  destinationOf,
  freePort,
  named,
  openPlane,
  serveTcp,
  serveUdp,
  serviceOf,
  stateOf,
  udpClient,
} from './fixture.js'
import { processSockets } from '../../../../mesh/dataplane/userspace/socket.js'
import { BLOCK_BYTES, Block } from '../../../../mesh/dataplane/userspace/block.js'

t.test('a port of one address is on that one only', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const destinations = [destinationOf('a', await serveTcp(t, named('a')))]
  const ports = [{ protocol: 'tcp', first: port, last: port, address: '127.0.0.2' }] as const
  await plane.apply(stateOf(serviceOf({ port, ports, destinations })))
  t.equal(await askTcp(port, '127.0.0.2'), 'a')
  t.equal(await askTcp(port, '127.0.0.1'), 'ECONNREFUSED')
  t.equal(await askTcp(port, '::1'), 'ECONNREFUSED')
})

t.test('a port moves between one address and all of them, and its connections live', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const destinations = [destinationOf('a', await serveTcp(t, named('a')))]
  const everywhere = serviceOf({ port, destinations })
  const [wide] = everywhere.ports
  t.ok(wide)
  const narrow = { ...everywhere, ports: [{ ...wide, address: '127.0.0.2' } as typeof wide] }
  for (const service of [everywhere, narrow, everywhere]) {
    await plane.apply(stateOf(service as typeof everywhere))
    t.equal(await askTcp(port, '127.0.0.2'), 'a')
    const isNarrow = service === narrow
    t.equal(await askTcp(port, '127.0.0.1'), isNarrow ? 'ECONNREFUSED' : 'a')
  }
})

t.test('a range opens each of its ports, and none beside it', async t => {
  const plane = openPlane(t)
  const first = (await freePort()) - 20
  const ports = [{ protocol: 'tcp', first, last: first + 9, address: '127.0.0.3' }] as const
  const destinations = [destinationOf('a', await serveTcp(t, named('a')))]
  await plane.apply(stateOf(serviceOf({ port: first, ports, destinations })))
  for (const port of [first, first + 5, first + 9]) t.equal(await askTcp(port, '127.0.0.3'), 'a')
  for (const port of [first - 1, first + 10]) {
    t.equal(await askTcp(port, '127.0.0.3'), 'ECONNREFUSED')
  }
})

t.test('check() refuses what it cannot do, and says what can', async t => {
  const plane = openPlane(t)
  const sctp = serviceOf({ port: 80, ports: [{ protocol: 'sctp', first: 80, last: 80 }] })
  t.throws(() => plane.check(sctp), { code: 'MESH_UNSUPPORTED', message: /nftables or ipvs/ })
  const wide = serviceOf({ port: 1, ports: [{ protocol: 'tcp', first: 2000, last: 3024 }] })
  t.throws(() => plane.check(wide), { code: 'MESH_UNSUPPORTED', message: /1025 ports/ })
  for (const scheduler of ['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'] as const) {
    t.doesNotThrow(() => plane.check(serviceOf({ port: 80, scheduler })))
  }
})

t.test('a port that somebody has fails the whole change, naming it', async t => {
  const plane = openPlane(t)
  const [port, taken] = [await freePort(), await freePort()]
  const server = createServer().listen(taken, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const destinations = [destinationOf('a', await serveTcp(t, named('a')))]
  const service = serviceOf({ port, destinations })
  const ports = [
    { protocol: 'tcp', first: port, last: port },
    { protocol: 'tcp', first: taken, last: taken },
  ] as const
  const change = stateOf({ ...service, ports })
  const message = new RegExp(`port ${taken}/tcp on 0\\.0\\.0\\.0 for "shop/web"`)
  await t.rejects(plane.apply(change), { code: 'MESH_PORT_IN_USE', message })
  t.equal(await askTcp(port), 'ECONNREFUSED', 'nothing was opened')
  await plane.apply(stateOf(service))
  await t.rejects(plane.apply(change), { code: 'MESH_PORT_IN_USE' })
  t.equal(await askTcp(port), 'a', 'what was there before is there')
  await t.rejects(plane.apply(stateOf({ ...service, ports: ports.slice(1) })))
  t.equal(await askTcp(port), 'a', 'and was not given up for what failed')
})

t.test('two services of one port are refused with both names', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const web = serviceOf({ port })
  const blog = serviceOf({ port, key: 'blog', name: 'shop/blog' })
  await t.rejects(plane.apply(stateOf(web, blog)), {
    code: 'MESH_BAD_SERVICE',
    message: /"shop\/web" and "shop\/blog" both publish/,
  })
  await plane.apply(stateOf(web))
  await t.rejects(plane.apply(stateOf(web, blog), new Set(['blog'])), { code: 'MESH_BAD_SERVICE' })
})

t.test('a port of one address goes before the same of all, whoever comes first', async t => {
  for (const protocol of ['tcp', 'udp'] as const) {
    const plane = openPlane(t)
    const port = await freePort()
    const serve = (name: string) =>
      protocol === 'tcp' ? serveTcp(t, named(name)) : serveUdp(t, () => name)
    const ports = [{ protocol, first: port, last: port }]
    const all = serviceOf({ port, ports, destinations: [destinationOf('a', await serve('all'))] })
    const one = serviceOf({
      ...{ port, key: 'one', name: 'one', mark: 2 },
      ports: [{ protocol, first: port, last: port, address: '127.0.0.2' }],
      destinations: [destinationOf('b', await serve('one'))],
    })
    const ask = async (host: string): Promise<string> =>
      protocol === 'tcp' ? askTcp(port, host) : (await udpClient(t, port, host, 200)).ask('x')
    for (const first of [all, one]) {
      await plane.apply(stateOf(first))
      await plane.apply(stateOf(all, one))
      t.strictSame([await ask('127.0.0.2'), await ask('127.0.0.1')], ['one', 'all'], protocol)
      await plane.apply(stateOf(all, { ...one, destinations: [] }))
      t.equal(await ask('127.0.0.2'), protocol === 'tcp' ? 'ECONNRESET' : 'silence')
      await plane.apply(stateOf({ ...all, destinations: [] }, one))
      t.strictSame([await ask('127.0.0.2'), await ask('127.0.0.1')], ['one', 'ECONNREFUSED'])
      await plane.apply(new Map())
    }
  }
})

t.test('ports swap between services in one change, without closing', async t => {
  const plane = openPlane(t)
  const [p, q] = [await freePort(), await freePort()]
  const service = async (key: string, port: number, name: string) =>
    serviceOf({
      ...{ key, name: key, port },
      destinations: [destinationOf(key, await serveTcp(t, named(name)))],
    })
  const [a, b] = [await service('a', p, 'A'), await service('b', q, 'B')]
  await plane.apply(stateOf(a, b))
  t.strictSame([await askTcp(p), await askTcp(q)], ['A', 'B'])
  await plane.apply(stateOf({ ...a, ports: b.ports }, { ...b, ports: a.ports }))
  t.strictSame([await askTcp(p), await askTcp(q)], ['B', 'A'])
})

t.test('apply() looks at the changed services alone; a gone one gives its port back', async t => {
  const plane = openPlane(t)
  const [p, q] = [await freePort(), await freePort()]
  const a = serviceOf({
    port: p,
    key: 'a',
    destinations: [destinationOf('a', await serveTcp(t, named('a')))],
  })
  const b = serviceOf({ port: q, key: 'b' })
  await plane.apply(stateOf(a, b))
  await plane.apply(new Map(), new Set(['b']))
  t.equal(await askTcp(p), 'a')
  const server = createServer().listen(q)
  await once(server, 'listening')
  server.close()
  await plane.apply(new Map())
  t.equal(await askTcp(p), 'ECONNREFUSED')
  t.strictSame(await plane.stats(), [])
})

t.test('reconcile() counts what differs, and finds nothing the second time', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const service = serviceOf({
    port,
    destinations: [destinationOf('a', await serveTcp(t, named('a')))],
  })
  t.equal(await plane.reconcile(stateOf(service)), 1)
  t.equal(await plane.reconcile(stateOf(service)), 0)
  t.equal(await askTcp(port), 'a')
  t.equal(await plane.reconcile(new Map()), 1)
  t.equal(await askTcp(port), 'ECONNREFUSED')
})

t.test('trace() tells sockets, choice and destinations', async t => {
  const plane = openPlane(t)
  const service = serviceOf({ port: await freePort(), destinations: [destinationOf('a', 8080)] })
  const [port] = service.ports.map(({ first }) => first)
  await plane.apply(stateOf(service))
  t.strictSame(await plane.trace(service), [
    { where: `socket 0.0.0.0:${port}/tcp`, what: 'takes what comes over IPv4' },
    {
      where: `socket [::]:${port}/tcp`,
      what: 'refuses with RST: no destination has an IPv6 address',
    },
    { where: `process ${process.pid}`, what: 'chooses by rr of 1 destinations' },
    { where: 'destination a', what: '127.0.0.1, port 8080, weight 1, 0 connections' },
  ])
})

t.test('sockets come from the door that is handed in', async t => {
  const asked: string[] = []
  const door = processSockets(new Block(BLOCK_BYTES))
  const plane = openPlane(t, {
    sockets: {
      bind: (protocol, endpoint, isShared) => {
        asked.push(`bind ${protocol} ${endpoint.address}`)
        return door.bind(protocol, endpoint, isShared)
      },
      create: (protocol, family) => {
        asked.push(`create ${protocol} ${family}`)
        return door.create(protocol, family)
      },
    },
  })
  const port = await freePort()
  const destinations = [destinationOf('a', await serveTcp(t, named('a')))]
  await plane.apply(stateOf(serviceOf({ port, destinations })))
  t.equal(await askTcp(port), 'a')
  t.strictSame(asked, ['bind tcp 0.0.0.0', 'bind tcp ::', 'create tcp 4'])
})

t.test(
  'a client that comes while destinations come and go is refused or served, never left',
  async t => {
    const plane = openPlane(t)
    const port = await freePort()
    const service = serviceOf({
      port,
      destinations: [destinationOf('a', await serveTcp(t, named('a')))],
    })
    const outcomes = new Set<string>()
    for (let i = 0; i < 100; i++) {
      const pending = askTcp(port)
      await plane.apply(stateOf(i % 2 === 0 ? service : { ...service, destinations: [] }))
      outcomes.add(await pending)
    }
    for (const outcome of outcomes)
      t.ok(['a', 'ECONNREFUSED', 'ECONNRESET'].includes(outcome), outcome)
  },
)
