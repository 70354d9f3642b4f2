/** Section G of the resolver's specification, by TCP: frames, order, limits and patience. */

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { TYPE } from '../../resolver/rr.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { composeQuery } from '../../resolver/wire/query.js'
import type { Netns } from '../../src/kernel/netns.js'
import { assertCovers, byNumber } from '../lab/coverage.js'
import { asRoot } from '../lab/host.js'
import { Q, withHeader } from '../lab/packet.js'
import { askUdp, frame, openStream } from '../lab/probe.js'
import { cpuMilliseconds, residentBytes } from '../lab/process.js'
import { describeReply, findFaults } from '../lab/reply.js'
import { openWorld } from '../lab/world.js'

const many = composeQuery({ name: 'many', type: TYPE.A })

/** The answer to Q of some id, and in every way as a reply must be. */
function isAnswer(reply: Buffer | undefined): boolean {
  if (reply === undefined) return false
  const query = withHeader({ 0: reply.readUInt16BE(0) })
  const hasNoFault = findFaults(query, reply, false).length === 0
  return hasNoFault && describeReply(parseMessage(reply), false) === '172.30.1.3'
}

t.test('G. Wire, by TCP', asRoot, async t => {
  const host = await openWorld(t, { isMany: true })
  const c1 = await host.netnsOf('c1')
  const vector = byNumber(t)
  // Waits while the others run; in a container where nobody else presses for connections.
  const silence = measureSilence(await host.netnsOf('w1'))

  vector([192], 'three queries in one segment get three replies', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    const packets = [1, 2, 3].map(id => withHeader({ 0: id }))
    stream.write(Buffer.concat(packets.map(frame)))
    const replies = [await stream.next(), await stream.next(), await stream.next()]
    t.ok(replies.every(isAnswer))
    const ids = replies.map(reply => reply?.readUInt16BE(0))
    t.strictSame(ids.sort(), [1, 2, 3])
  })

  vector([193], 'a query byte by byte, 5 ms apart, gets one reply', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    for (const byte of frame(Q)) {
      stream.write(Buffer.from([byte]))
      await delay(5)
    }
    t.ok(isAnswer(await stream.next()))
    t.equal(await stream.next(100), undefined, 'and no other')
  })

  vector([194], 'a half-close after the query: the reply, then FIN', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    stream.socket.end(frame(Q))
    t.ok(isAnswer(await stream.next()))
    await stream.closed
  })

  for (const [n, name, bytes] of [
    [195, 'a frame of length 0', Buffer.from([0, 0])],
    [196, 'a frame of 5 bytes', frame(Buffer.alloc(5, 1))],
  ] as const) {
    vector([n], `${name}, then a query: the query is answered`, async t => {
      const stream = await openStream(c1)
      t.teardown(() => stream.close())
      stream.write(Buffer.concat([bytes, frame(Q)]))
      t.ok(isAnswer(await stream.next()))
    })
  }

  vector([197], 'a length, then FIN: closed, and no CPU is burnt', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    stream.socket.end(Buffer.from([0x00, 0x3c]))
    await stream.closed
    const pid = host.daemonPid ?? 0
    const before = cpuMilliseconds(pid)
    await delay(500)
    t.ok(cpuMilliseconds(pid) - before < 250, 'half idle at least')
  })

  vector([199], '300 queries one after the other get 300 replies', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    let answered = 0
    for (let id = 0; id < 300; id++) {
      stream.write(frame(withHeader({ 0: id })))
      const reply = await stream.next()
      if (reply?.readUInt16BE(0) === id) answered++
    }
    t.equal(answered, 300)
  })

  vector([200], 'a slow forward does not hold up what is behind it', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    const slow = composeQuery({ name: 'drop.example', type: TYPE.A, id: 1 })
    const startedAt = performance.now()
    stream.write(Buffer.concat([frame(slow), frame(Q)]))
    t.ok(isAnswer(await stream.next()))
    t.ok(performance.now() - startedAt < 50, `${performance.now() - startedAt} ms`)
  })

  vector([201], 'who pipelines for 6 s without reading costs under 8 MB', async t => {
    const stream = await openStream(c1)
    t.teardown(() => stream.close())
    stream.socket.pause()
    const pid = host.daemonPid ?? 0
    const before = residentBytes(pid)
    const burst = Buffer.concat(
      Array.from({ length: 200 }, (_, id) => frame(withHeader({ 0: id }, many))),
    )
    let highest = before
    let slowest = 0
    const deadline = performance.now() + 6_000
    while (performance.now() < deadline) {
      if (stream.socket.writableLength < 4 * burst.length) stream.write(burst)
      const { reply, ms } = await askUdp(c1, Q)
      if (!isAnswer(reply)) t.fail('another client got no answer')
      slowest = Math.max(slowest, ms)
      highest = Math.max(highest, residentBytes(pid))
      await delay(20)
    }
    const grown = Math.round((highest - before) / 1024)
    t.ok(grown < 8 * 1024, `${grown} KiB`)
    t.ok(slowest < 250, `others wait ${slowest} ms at most`)
  })

  vector([202], '500 idle connections of a container: UDP and others are not affected', async t => {
    const streams = await Promise.all(
      Array.from({ length: 500 }, () => openStream(c1).catch(() => undefined)),
    )
    t.teardown(() => streams.forEach(stream => stream?.close()))
    t.equal(streams.filter(stream => stream !== undefined).length, 500, 'all connect')
    const { reply, ms } = await askUdp(c1, Q)
    t.ok(isAnswer(reply), 'UDP of the same container')
    t.ok(ms < 50, `${ms} ms`)
    const other = await openStream(await host.netnsOf('l1'))
    t.teardown(() => other.close())
    other.write(frame(Q))
    t.ok(isAnswer(await other.next()), 'TCP of another container')
  })

  vector([198], 'a silent connection is closed at 10 s', async t => {
    const ms = await silence
    t.ok(ms > 9_000 && ms < 11_000, `${ms} ms`)
  })

  assertCovers(t, 'streams', vector.numbers)
})

async function measureSilence(netns: Netns): Promise<number> {
  const stream = await openStream(netns)
  const startedAt = performance.now()
  const timer = setTimeout(() => stream.close(), 20_000)
  await stream.closed
  clearTimeout(timer)
  stream.close()
  return performance.now() - startedAt
}
