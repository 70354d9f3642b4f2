/** UDP through the userspace dataplane: flows, the address of replies, refusals and bounds. */

import t from 'tap'
import {
  MAX_FLOWS,
  REPLIED_MS,
  UNREPLIED_MS,
} from '../../../../mesh/dataplane/userspace/udp-proxy.js'
import {
  destinationOf,
  freePort,
  openPlane,
  serveUdp,
  serviceOf,
  stateOf,
  udpClient,
  until,
} from './fixture.js'
import type { Clock, Timer } from '../../../../src/base/clock.js'
import type { VirtualService } from '../../../../mesh/state.js'

function udpService(port: number, change: Partial<VirtualService> = {}): VirtualService {
  return serviceOf({ port, ports: [{ protocol: 'udp', first: port, last: port }], ...change })
}

t.test('a client stays with one destination, and each new client gets the next', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const destinations = await Promise.all(
    ['a', 'b'].map(async id => destinationOf(id, await serveUdp(t, () => id))),
  )
  await plane.apply(stateOf(udpService(port, { destinations })))
  const [first, second] = [await udpClient(t, port), await udpClient(t, port)]
  t.equal(await first.ask('1'), 'a')
  t.equal(await second.ask('1'), 'b')
  t.equal(await first.ask('2'), 'a')
  t.match(await plane.stats(), [
    { activeConnections: 1, inBytes: 2n, outBytes: 2n },
    { activeConnections: 1, inBytes: 1n, outBytes: 1n },
  ])
})

t.test('the reply comes from the address that the client asked', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const [v4, v6] = [await serveUdp(t, () => 'four'), await serveUdp(t, () => 'six', '::1')]
  const destinations = [
    destinationOf('a', v4),
    { id: 'b', ipv6: '::1', port: v6, weight: 1, ownAddresses: [] },
  ]
  await plane.apply(stateOf(udpService(port, { destinations })))
  // A connected socket drops what comes from elsewhere.
  for (const host of ['127.0.0.1', '127.0.0.2', '127.99.0.1']) {
    t.equal(await (await udpClient(t, port, host)).ask('x'), 'four', host)
  }
  t.equal(await (await udpClient(t, port, '::1')).ask('x'), 'six')
})

t.test('a port without destinations is unreachable, and heals with the next datagram', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  await plane.apply(stateOf(udpService(port)))
  const client = await udpClient(t, port)
  t.equal(await client.ask('x'), 'ECONNREFUSED')
  const other = openPlane(t)
  await t.rejects(other.apply(stateOf(udpService(port))), { code: 'MESH_PORT_IN_USE' })
  const a = destinationOf('a', await serveUdp(t, () => 'a'))
  await plane.apply(stateOf(udpService(port, { destinations: [a] })))
  t.equal(await client.ask('x'), 'a')
  t.equal(await (await udpClient(t, port, '::1')).ask('x'), 'ECONNREFUSED')
  await plane.apply(stateOf(udpService(port)))
  t.equal(await client.ask('x'), 'ECONNREFUSED')
})

t.test('a flow moves at once when its destination goes', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const a = destinationOf('a', await serveUdp(t, () => 'a'))
  const b = destinationOf('b', await serveUdp(t, () => 'b'))
  await plane.apply(stateOf(udpService(port, { destinations: [a] })))
  const client = await udpClient(t, port)
  t.equal(await client.ask('x'), 'a')
  await plane.apply(stateOf(udpService(port, { destinations: [a, b] })))
  t.equal(await client.ask('x'), 'a', 'others coming do not move it')
  await plane.apply(stateOf(udpService(port, { destinations: [b] })))
  t.equal(await client.ask('x'), 'b')
})

t.test('a destination that refuses loses the flow to another', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const dead = destinationOf('dead', await freePort())
  const a = destinationOf('a', await serveUdp(t, () => 'a'))
  await plane.apply(stateOf(udpService(port, { destinations: [dead, a] })))
  const client = await udpClient(t, port, '127.0.0.1', 200)
  t.equal(await client.ask('x'), 'silence')
  t.ok(await until(async () => (await client.ask('x')) === 'a'))
})

t.test('datagrams up to the largest pass, empty ones too', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const a = destinationOf('a', await serveUdp(t, text => String(text.length)))
  await plane.apply(stateOf(udpService(port, { destinations: [a] })))
  const client = await udpClient(t, port)
  t.equal(await client.ask('x'.repeat(65_507)), '65507')
  t.equal(await client.ask(''), '0')
})

t.test('idle flows end: unanswered ones sooner', async t => {
  const clock = new HandClock()
  const plane = openPlane(t, { clock })
  const port = await freePort()
  const a = destinationOf('a', await serveUdp(t, text => (text === 'hush' ? undefined : text)))
  await plane.apply(stateOf(udpService(port, { destinations: [a] })))
  const active = async () => (await plane.stats())[0]?.activeConnections
  const quiet = await udpClient(t, port, '127.0.0.1', 50)
  await quiet.ask('hush')
  t.equal(await (await udpClient(t, port)).ask('hello'), 'hello')
  t.equal(await active(), 2)
  clock.advance(UNREPLIED_MS - 2000)
  t.equal(await active(), 2)
  clock.advance(4000)
  t.equal(await active(), 1)
  clock.advance(REPLIED_MS)
  t.equal(await active(), 0)
})

t.test('flows are bounded: who was not answered gives its place', async t => {
  t.ok(MAX_FLOWS > 0)
  const plane = openPlane(t, { maxFlows: 2 })
  const port = await freePort()
  const a = destinationOf('a', await serveUdp(t, text => (text === 'hush' ? undefined : text)))
  await plane.apply(stateOf(udpService(port, { destinations: [a] })))
  const kept = await udpClient(t, port)
  t.equal(await kept.ask('hello'), 'hello')
  for (let i = 0; i < 3; i++) await (await udpClient(t, port, '127.0.0.1', 50)).ask('hush')
  const second = await udpClient(t, port)
  t.equal(await second.ask('hi'), 'hi')
  t.equal(await (await udpClient(t, port, '127.0.0.1', 200)).ask('late'), 'silence')
  t.equal(await kept.ask('again'), 'again')
  t.equal((await plane.stats())[0]?.activeConnections, 2)
})

/** Time that moves by hand; timers run in order. */
class HandClock implements Clock {
  #now = 0
  #timers: { at: number; body: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(delayMs: number, body: () => void): Timer {
    const timer = { at: this.#now + delayMs, body }
    this.#timers.push(timer)
    return { cancel: () => (this.#timers = this.#timers.filter(other => other !== timer)) }
  }

  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter(timer => timer !== next)
      this.#now = next.at
      next.body()
    }
    this.#now = end
  }
}
