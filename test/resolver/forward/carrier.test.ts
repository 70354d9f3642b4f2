import { createSocket } from 'node:dgram'
import { createServer } from 'node:http'
import { Socket } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { Forwarder } from '../../../resolver/forward/forwarder.js'
import { openUpstream, world } from '../../fixtures/upstream.js'
import { A, ask, policyOf } from './asking.js'
import type { Test } from 'tap'
import type { ForwardPolicy, SocketSpace } from '../../../resolver/forward/policy.js'
import type { UpstreamFixture } from '../../fixtures/upstream.js'

/** Stands for a sandbox: its sockets are bound to an address of their own. */
function spaceAt(address: string): SocketSpace & { opened: number } {
  const space = {
    opened: 0,
    udp: () => {
      space.opened++
      const socket = createSocket('udp4')
      socket.bind(0, address)
      return socket
    },
    tcp: () => {
      const socket = new Socket()
      const connect = socket.connect.bind(socket)
      // Not by assignment to a typed overload set: only the form that the carrier uses.
      Object.defineProperty(socket, 'connect', {
        value: (options: { host: string; port: number }) =>
          connect({ ...options, localAddress: address }),
      })
      return socket
    },
  }
  return space
}

async function upstreamOf(test: Test, behaviour = world()): Promise<UpstreamFixture> {
  const upstream = await openUpstream({ address: '127.0.0.1' }, behaviour)
  test.teardown(() => upstream.close())
  return upstream
}

function forwarderOf(test: Test): Forwarder {
  const forwarder = new Forwarder({ cacheEntries: 0 })
  test.teardown(() => forwarder.close())
  return forwarder
}

t.test('queries via the sandbox come from its sockets, by UDP and TCP', async t => {
  const inner = world()
  const upstream = await upstreamOf(t, query =>
    query.transport === 'tcp' ? inner(query) : [{ isTruncated: true }],
  )
  const { address, port } = upstream
  const space = spaceAt('127.0.0.77')
  const policy: ForwardPolicy = { upstreams: [{ address, port, via: 'sandbox' }], space }
  const reply = await ask(forwarderOf(t), policy, 'test.example', A)
  t.strictSame(reply.data, ['203.0.113.10'])
  t.strictSame(
    upstream.received.map(query => [query.transport, query.peer]),
    [
      ['udp', '127.0.0.77'],
      ['tcp', '127.0.0.77'],
    ],
  )
})

t.test('two sandboxes never share a socket or a reply', async t => {
  const { address, port, received } = await upstreamOf(t)
  const forwarder = new Forwarder()
  t.teardown(() => forwarder.close())
  for (const own of ['127.0.0.77', '127.0.0.78']) {
    const upstreams = [{ address, port, via: 'sandbox' }] as const
    await ask(forwarder, { upstreams, space: spaceAt(own) }, 'test.example', A)
  }
  t.strictSame(
    received.map(query => query.peer),
    ['127.0.0.77', '127.0.0.78'],
  )
})

t.test('queries in flight share a few sockets', async t => {
  const upstream = await upstreamOf(t)
  const forwarder = forwarderOf(t)
  const policy = policyOf(upstream)
  await Promise.all(Array.from({ length: 400 }, (_, i) => ask(forwarder, policy, `n${i}`, A)))
  const ports = new Set(upstream.received.map(query => query.peerPort))
  t.ok(ports.size > 1 && ports.size <= 4, `${ports.size} ports`)
})

t.test('queries in flight do not share ids, whatever the random source says', async t => {
  const inner = world()
  // Nothing is answered before all are sent.
  const upstream = await upstreamOf(t, query =>
    inner(query).map(script => ({ ...script, delayMs: 200 })),
  )
  const forwarder = new Forwarder({ random: () => 7 })
  t.teardown(() => forwarder.close())
  const policy = policyOf(upstream)
  await Promise.all(Array.from({ length: 20 }, (_, i) => ask(forwarder, policy, `n${i}`, A)))
  const first = upstream.received.slice(0, 20)
  t.equal(new Set(first.map(query => `${query.peerPort} ${query.id}`)).size, 20)
})

t.test('a socket is replaced after 2000 queries, and no reply is lost', async t => {
  const upstream = await upstreamOf(t)
  const forwarder = forwarderOf(t)
  const policy = policyOf(upstream)
  for (let round = 0; round < 100; round++) {
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => ask(forwarder, policy, `n${i}.r${round}`, A)),
    )
  }
  const ports = new Set(upstream.received.map(query => query.peerPort))
  t.ok(ports.size > 4, `${ports.size} ports`)
  // On a busy machine some are sent again.
  t.ok(upstream.received.length >= 10_000)
})

t.test('forgetSpace() ends what is in flight from that sandbox', async t => {
  const { address, port } = await upstreamOf(t, () => [])
  const forwarder = forwarderOf(t)
  const space = spaceAt('127.0.0.77')
  const policy: ForwardPolicy = { upstreams: [{ address, port, via: 'sandbox' }], space }
  const waiting = ask(forwarder, policy, 'test.example', A)
  forwarder.forgetSpace(space)
  const reply = await waiting
  t.equal(reply.rcode, 2)
  t.ok(reply.ms < 1000, `${reply.ms} ms`)
  t.strictSame(forwarder.status(), [])
})

t.test('a policy that is used again after forgetSpace() gets sockets again', async t => {
  const { address, port } = await upstreamOf(t)
  const forwarder = forwarderOf(t)
  const space = spaceAt('127.0.0.77')
  const policy: ForwardPolicy = { upstreams: [{ address, port, via: 'sandbox' }], space }
  await ask(forwarder, policy, 'test.example', A)
  forwarder.forgetSpace(space)
  const reply = await ask(forwarder, policy, 'test.example', A)
  t.strictSame(reply.data, ['203.0.113.10'])
  t.equal(forwarder.status().length, 1)
})

t.test('an upstream with a URL is asked by POST with id 0', async t => {
  const seen: { type: string | undefined; path: string | undefined; id: number }[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const query = Buffer.concat(chunks)
      const { 'content-type': type } = request.headers
      seen.push({ type, path: request.url, id: query.readUInt16BE(0) })
      const questionEnd = query.indexOf(0, 12) + 5
      const reply = Buffer.from(query.subarray(0, questionEnd))
      reply.writeUInt16BE(0x8180, 2)
      reply.writeUInt16BE(1, 6)
      reply.writeUInt16BE(0, 10)
      const record = Buffer.from('c00c000100010000003c0004cb00710a', 'hex')
      response.writeHead(200, { 'content-type': 'application/dns-message' })
      response.end(Buffer.concat([reply, record]))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const url = `http://dns.example:${port}/dns-query`
  const policy: ForwardPolicy = { upstreams: [{ address: '127.0.0.1', via: 'host', url }] }
  const forwarder = forwarderOf(t)
  const reply = await ask(forwarder, policy, 'TesT.example', A, { id: 7 })
  t.strictSame(reply.data, ['203.0.113.10'])
  t.equal(reply.bytes.readUInt16BE(0), 7)
  t.strictSame(seen, [{ type: 'application/dns-message', path: '/dns-query', id: 0 }])
})

t.test('an HTTP error of an upstream is a failure, and the next is asked', async t => {
  const server = createServer((_request, response) => response.writeHead(503).end('no'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const { address, port: next } = await upstreamOf(t)
  const url = `http://dns.example:${port}/dns-query`
  const upstreams = [
    { address: '127.0.0.1', via: 'host', url },
    { address, port: next, via: 'host' },
  ] as const
  const reply = await ask(forwarderOf(t), { upstreams }, 'test.example', A)
  t.strictSame(reply.data, ['203.0.113.10'])
})
