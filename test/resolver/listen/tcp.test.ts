import t from 'tap'
import type { Test } from 'tap'
import { composeQuery } from '../../../resolver/wire/query.js'
import { parseMessage } from '../../../resolver/wire/message-text.js'
import { openTcp } from '../../../resolver/listen/tcp.js'
import { TcpClient, TestClock, TestEngine, answeringOf, frameOf, until } from './fixture.js'
import type { Answering, Listener } from '../../../resolver/listen/listener.js'

const A = 1

interface Bench {
  readonly engine: TestEngine
  readonly clock: TestClock
  readonly answering: Answering
  readonly listener: Listener
  connect(): TcpClient
}

async function open(t: Test, engine = new TestEngine(), maxConnections?: number): Promise<Bench> {
  const clock = new TestClock()
  const answering = answeringOf()
  const target = { address: '127.0.0.1', port: 0 }
  const listener = await openTcp({ target, answering, engine, clock, maxConnections })
  const clients: TcpClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await listener.close()
  })
  const connect = (): TcpClient => {
    const client = new TcpClient(listener.port)
    clients.push(client)
    return client
  }
  return { engine, clock, answering, listener, connect }
}

function idsOf(replies: readonly Buffer[]): readonly number[] {
  return replies.map(reply => reply.readUInt16BE(0))
}

function query(id: number, name = 'c2'): Buffer {
  return composeQuery({ name, type: A, id })
}

t.test('three queries in one segment get three replies', async t => {
  const { connect, answering } = await open(t)
  const client = connect()
  client.send(query(1), query(2), query(3))
  t.strictSame(idsOf(await client.take(3)), [1, 2, 3])
  t.equal(answering.counters.answered, 3)
})

t.test('a query byte by byte gets one reply', async t => {
  const { connect } = await open(t)
  const client = connect()
  for (const byte of frameOf(query(1))) {
    client.socket.write(Buffer.of(byte))
    await new Promise(resolve => setImmediate(resolve))
  }
  t.strictSame(idsOf(await client.take(1)), [1])
})

t.test('half-close after the query: reply, then FIN', async t => {
  const { connect } = await open(t)
  const client = connect()
  client.send(query(1))
  client.socket.end()
  t.strictSame(idsOf(await client.take(1)), [1])
  await until(() => client.isOver, 'the FIN')
})

t.test('half-close while an upstream is asked: the reply comes before our FIN', async t => {
  const { connect, engine } = await open(t)
  const client = connect()
  client.send(query(1, 'test.example'))
  client.socket.end()
  await until(() => engine.asked.length === 1, 'the question')
  t.notOk(client.hasEnded)
  engine.asked[0]?.reply(query(1))
  t.strictSame(idsOf(await client.take(1)), [1])
  await until(() => client.isOver, 'the FIN')
})

t.test('an empty frame and a short frame are skipped, the next query is answered', async t => {
  const { connect } = await open(t)
  const client = connect()
  client.send(Buffer.alloc(0), Buffer.from('short'), query(4))
  t.strictSame(idsOf(await client.take(1)), [4])
})

t.test('a cut frame and FIN: closed', async t => {
  const { connect } = await open(t)
  const client = connect()
  client.socket.end(Buffer.from([0, 0x3c]))
  await until(() => client.isOver, 'the close')
  t.equal(client.replies.length, 0)
})

t.test('a silent connection is closed at 10 s', async t => {
  const { connect, clock } = await open(t)
  const client = connect()
  client.send(query(1))
  await client.take(1)
  clock.advance(9_900)
  client.send(query(2))
  await client.take(2)
  clock.advance(9_900)
  t.notOk(client.isOver)
  clock.advance(200)
  await until(() => client.isOver, 'the close')
})

t.test('a connection that waits for an upstream is not idle', async t => {
  const { connect, clock, engine } = await open(t)
  const client = connect()
  client.send(query(1, 'test.example'))
  await until(() => engine.asked.length === 1, 'the question')
  clock.advance(15_000)
  engine.asked[0]?.reply(query(1))
  t.strictSame(idsOf(await client.take(1)), [1])
})

t.test('300 queries one after the other get 300 replies', async t => {
  const { connect } = await open(t)
  const client = connect()
  for (let id = 1; id <= 300; id++) {
    client.send(query(id))
    await client.take(id)
  }
  t.equal(client.replies.length, 300)
})

t.test('a slow forward does not hold the query behind it', async t => {
  const { connect, engine } = await open(t)
  const client = connect()
  client.send(query(1, 'drop.example'), query(2))
  t.strictSame(idsOf(await client.take(1)), [2])
  t.equal(engine.asked[0]?.limit, 65535)
  engine.asked[0]?.reply(query(1))
  t.strictSame(idsOf(await client.take(2)), [2, 1])
})

t.test('a forwarder that replies at once to a segment full of queries is heard', async t => {
  const engine = new TestEngine(asked => asked.reply(asked.query))
  const { connect } = await open(t, engine)
  const client = connect()
  const ids = Array.from({ length: 2000 }, (_, i) => i + 1)
  client.send(...ids.map(id => query(id, 'test.example')))
  t.strictSame(idsOf(await client.take(2000)), ids)
})

t.test('64 queries wait for upstreams, the next is read when one is back', async t => {
  const { connect, engine } = await open(t)
  const client = connect()
  const ids = Array.from({ length: 70 }, (_, i) => i + 1)
  client.send(...ids.map(id => query(id, 'drop.example')), query(99))
  await until(() => engine.asked.length === 64, '64 questions')
  const other = connect()
  other.send(query(1))
  await other.take(1)
  t.equal(engine.asked.length, 64, 'nothing more was read meanwhile')
  for (let i = 0; i < 70; i++) engine.asked[i]?.reply(query(i + 1))
  await client.take(71)
  t.strictSame(new Set(idsOf(client.replies)), new Set([...ids, 99]))
})

t.test('a client that does not read costs bounded memory and is closed when idle', async t => {
  const { connect, clock, answering } = await open(t)
  const greedy = connect()
  greedy.socket.pause()
  const segment = Array.from({ length: 500 }, (_, i) => query(i, 'many'))
  // A reply to `many` has 760 bytes: 20,000 of them are 15 MB, more than any socket buffers.
  for (let i = 0; i < 40; i++) greedy.send(...segment)
  let before = -1
  await until(() => {
    const isStill = answering.counters.answered === before && before > 0
    before = answering.counters.answered
    return isStill
  }, 'the server to stop reading')
  t.ok(answering.counters.answered < 20_000, `${answering.counters.answered} were answered`)
  const other = connect()
  other.send(query(1))
  t.strictSame(idsOf(await other.take(1)), [1])
  clock.advance(10_001)
  greedy.socket.resume()
  await until(() => greedy.isOver, 'the close')
})

t.test('over the cap the longest idle connection gives its place', async t => {
  const { connect } = await open(t, new TestEngine(), 2)
  const [first, second] = [connect(), connect()]
  for (const client of [first, second, first]) {
    const before = client.replies.length
    client.send(query(1))
    await client.take(before + 1)
  }
  const third = connect()
  third.send(query(3))
  t.strictSame(idsOf(await third.take(1)), [3])
  await until(() => second.isOver, 'the close of the longest idle one')
  t.notOk(first.isOver)
})

t.test('close() ends connections, and a reply that comes later is dropped', async t => {
  const { connect, engine, listener } = await open(t)
  const client = connect()
  client.send(query(1, 'test.example'))
  await until(() => engine.asked.length === 1, 'the question')
  await listener.close()
  engine.asked[0]?.reply(query(1))
  await until(() => client.isOver, 'the close')
  t.equal(client.replies.length, 0)
  t.strictSame(engine.errors, [])
})

t.test('a port in use rejects with LISTEN_ADDRESS_IN_USE', async t => {
  const { listener, engine, clock, answering } = await open(t)
  const target = { address: '127.0.0.1', port: listener.port }
  await t.rejects(openTcp({ target, answering, engine, clock }), {
    code: 'LISTEN_ADDRESS_IN_USE',
  })
})

t.test('45 records come whole over TCP', async t => {
  const { connect } = await open(t)
  const client = connect()
  client.send(query(1, 'many'))
  const [reply] = await client.take(1)
  t.equal(parseMessage(reply ?? Buffer.alloc(0)).answers.length, 45)
})
