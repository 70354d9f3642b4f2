/** One contract for both UDP listeners: batched on recvmmsg, portable on node:dgram. */

import t from 'tap'
import type { Test } from 'tap'
import { composeQuery } from '../../../resolver/wire/query.js'
import { parseMessage } from '../../../resolver/wire/message-text.js'
import { chooseUdp } from '../../../resolver/listen/choose-udp.js'
import { loadLibc } from '../../../resolver/listen/libc.js'
import { openUdpSocket } from '../../../resolver/listen/socket.js'
import { TestEngine, UdpClient, answeringOf, until, viewOf } from './fixture.js'
import type { UdpKind } from '../../../resolver/listen/choose-udp.js'
import type { Answering, Listener } from '../../../resolver/listen/listener.js'

const A = 1
const AAAA = 28
const libc = loadLibc()

interface Bench {
  readonly engine: TestEngine
  readonly answering: Answering
  readonly listener: Listener
  readonly client: UdpClient
}

async function open(
  t: Test,
  kind: UdpKind,
  engine = new TestEngine(),
  address = '127.0.0.1',
): Promise<Bench> {
  const udp = chooseUdp({ kind, onError: engine.onError })
  const answering = answeringOf()
  const listener = await udp.open({ address, port: 0 }, answering, engine)
  const client = new UdpClient(listener)
  t.teardown(async () => {
    client.close()
    await listener.close()
    await udp.close()
  })
  return { engine, answering, listener, client }
}

for (const kind of ['batched', 'portable'] as const) {
  const skip = kind === 'batched' && typeof libc === 'string' ? libc : false
  t.test(`${kind}:`, { skip }, async t => {
    t.test('a local name is answered, and counted', async t => {
      const { client, answering } = await open(t, kind)
      const reply = parseMessage(await client.ask(composeQuery({ name: 'C2', type: A, id: 7 })))
      t.equal(reply.id, 7)
      t.match(reply.answers, [{ name: 'C2.', data: '10.0.1.3' }])
      t.strictSame(answering.counters, { answered: 1, forwarded: 0, dropped: 0 })
    })

    t.test('an IPv6 socket answers', async t => {
      const { client, listener } = await open(t, kind, new TestEngine(), '::1')
      t.equal(listener.address, '::1')
      const reply = parseMessage(await client.ask(composeQuery({ name: 'c2', type: A })))
      t.match(reply.answers, [{ data: '10.0.1.3' }])
    })

    t.test('200 queries in one burst are all answered, each with its own id', async t => {
      const { client, answering } = await open(t, kind)
      for (let id = 0; id < 200; id++) client.send(composeQuery({ name: 'c2', type: A, id }))
      await until(() => client.replies.length === 200, '200 replies')
      const ids = new Set(client.replies.map(reply => reply.readUInt16BE(0)))
      t.equal(ids.size, 200)
      t.equal(answering.counters.answered, 200)
    })

    t.test('what is no query gets no reply, and the next query does', async t => {
      const { client, answering } = await open(t, kind)
      const query = composeQuery({ name: 'c2', type: A, id: 9 })
      const response = Buffer.from(query)
      response[2] = 0x80
      for (const bytes of [Buffer.alloc(0), query.subarray(0, 11), response]) client.send(bytes)
      t.equal((await client.ask(query)).readUInt16BE(0), 9)
      t.equal(client.replies.length, 1)
      t.strictSame(answering.counters, { answered: 1, forwarded: 0, dropped: 3 })
    })

    t.test('a foreign name goes to the forwarder, and its reply to the asker', async t => {
      const { client, engine, answering, listener } = await open(t, kind)
      const other = new UdpClient(listener)
      t.teardown(() => other.close())
      const query = composeQuery({ name: 'test.example', type: A, id: 11 })
      other.send(query)
      await until(() => engine.asked.length === 1, 'the question')
      // Another client's packets in between must not reach into the stored query or peer.
      await client.ask(composeQuery({ name: 'c2', type: AAAA, id: 12 }))
      const [asked] = engine.asked
      t.strictSame(asked?.query, query)
      t.equal(asked?.limit, 512)
      t.equal(asked?.policy, answering.view.forwarding)
      asked?.reply(Buffer.from('to the asker'))
      await until(() => other.replies.length === 1, 'the forwarded reply')
      t.equal(other.replies[0]?.toString(), 'to the asker')
      t.equal(client.replies.length, 1)
      t.strictSame(answering.counters, { answered: 1, forwarded: 1, dropped: 0 })
    })

    t.test('a forwarder that replies at once is heard', async t => {
      const engine = new TestEngine(asked => asked.reply(Buffer.from('cached')))
      const { client } = await open(t, kind, engine)
      const reply = await client.ask(composeQuery({ name: 'test.example', type: A }))
      t.equal(reply.toString(), 'cached')
    })

    t.test('the limit handed to the forwarder is what the client takes, up to 4096', async t => {
      const { client, engine } = await open(t, kind)
      for (const udpSize of [1232, 65535]) {
        client.send(composeQuery({ name: 'test.example', type: A, edns: { udpSize } }))
      }
      await until(() => engine.asked.length === 2, 'the questions')
      t.strictSame(engine.asked.map(asked => asked.limit).sort(), [1232, 4096])
    })

    t.test(
      'a reply over 512 bytes comes cut to a client without EDNS, else up to 4096',
      async t => {
        const { client } = await open(t, kind)
        const cut = await client.ask(composeQuery({ name: 'many', type: A }))
        const whole = await client.ask(
          composeQuery({ name: 'many', type: A, edns: { udpSize: 65535 } }),
        )
        t.ok(cut.length <= 512 && parseMessage(cut).answers.length >= 25)
        t.equal(parseMessage(whole).answers.length, 45)
      },
    )

    t.test('a swapped view answers the next query', async t => {
      const { client, answering } = await open(t, kind)
      answering.view = viewOf('10.0.1.9')
      const reply = parseMessage(await client.ask(composeQuery({ name: 'c2', type: A })))
      t.match(reply.answers, [{ data: '10.0.1.9' }])
    })

    t.test('a responder that throws loses its packet and no other', async t => {
      const engine = new TestEngine()
      const { responder } = engine
      engine.responder = {
        respond: (view, query, start, end, transport, out, at) => {
          if (query.readUInt16BE(start) === 666) throw new Error('from the responder')
          return responder.respond(view, query, start, end, transport, out, at)
        },
      }
      const { client } = await open(t, kind, engine)
      client.send(composeQuery({ name: 'c2', type: A, id: 666 }))
      const reply = await client.ask(composeQuery({ name: 'c2', type: A, id: 1 }))
      t.equal(reply.readUInt16BE(0), 1)
      t.match(engine.errors, [{ message: 'from the responder' }])
    })

    const noRaw = process.getuid?.() !== 0 && 'a packet from port 0 is not sent: needs root'
    t.test('source port 0 gets no reply, and the server lives', { skip: noRaw }, async t => {
      const { client, listener, answering } = await open(t, kind)
      sendFromPortZero(listener.port, composeQuery({ name: 'c2', type: A }))
      await until(() => answering.counters.dropped === 1, 'the drop')
      t.equal((await client.ask(composeQuery({ name: 'c2', type: A, id: 3 }))).readUInt16BE(0), 3)
    })

    t.test('close() frees the port, and a reply that comes later is dropped', async t => {
      const { client, engine, listener } = await open(t, kind)
      client.send(composeQuery({ name: 'test.example', type: A }))
      await until(() => engine.asked.length === 1, 'the question')
      await listener.close()
      await listener.close()
      engine.asked[0]?.reply(Buffer.from('too late'))
      const next = chooseUdp({ kind, onError: engine.onError })
      const { address, port } = listener
      const again = await next.open({ address, port }, answeringOf(), engine)
      t.equal(again.port, port)
      await again.close()
      await next.close()
      t.strictSame(engine.errors, [])
    })

    t.test('an adopted descriptor answers', async t => {
      if (typeof libc === 'string') return
      const engine = new TestEngine()
      const udp = chooseUdp({ kind, onError: engine.onError })
      const fd = openUdpSocket(libc, '127.0.0.11', 0)
      const listener = await udp.open({ fd, family: 4 }, answeringOf(), engine)
      const client = new UdpClient(listener)
      t.equal(listener.address, '127.0.0.11')
      t.equal((await client.ask(composeQuery({ name: 'c2', type: A, id: 5 }))).readUInt16BE(0), 5)
      client.close()
      await listener.close()
      await udp.close()
    })

    t.test('a descriptor that is not open rejects', async t => {
      const engine = new TestEngine()
      const udp = chooseUdp({ kind, onError: engine.onError })
      const code = kind === 'batched' ? 'POLLER_BAD_FD' : 'LISTEN_FAILED'
      await t.rejects(udp.open({ fd: 99_999, family: 4 }, answeringOf(), engine), { code })
      await udp.close()
    })

    t.test('a port in use rejects with LISTEN_ADDRESS_IN_USE', async t => {
      const { listener, engine } = await open(t, kind)
      const udp = chooseUdp({ kind, onError: engine.onError })
      const { address, port } = listener
      await t.rejects(udp.open({ address, port }, answeringOf(), engine), {
        code: 'LISTEN_ADDRESS_IN_USE',
        message: `Cannot listen on 127.0.0.1 port ${port} (UDP)`,
      })
      await udp.close()
    })
  })
}

function sendFromPortZero(port: number, query: Buffer): void {
  if (typeof libc === 'string') throw new Error(libc)
  const AF_INET = 2
  const SOCK_RAW = 3
  const IPPROTO_UDP = 17
  const fd = libc.socket(AF_INET, SOCK_RAW, IPPROTO_UDP)
  const udp = Buffer.alloc(8)
  udp.writeUInt16BE(port, 2)
  udp.writeUInt16BE(8 + query.length, 4)
  const packet = Buffer.concat([udp, query])
  const to = Buffer.from([AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
  libc.sendto(fd, packet, packet.length, 0, to, to.length)
  libc.close(fd)
}
