/** TCP through the userspace dataplane: bytes, ends, resets, refusals and retries. */

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, readdirSync } from 'node:fs'
import { connect } from 'node:net'
import t from 'tap'
import { BLOCK_BYTES, Block, DATA, NAME } from '../../../../mesh/dataplane/userspace/block.js'
import {
  processSockets,
  readLocal,
  startListening,
  writeName,
} from '../../../../mesh/dataplane/userspace/socket.js'
import {
  askTcp,
  destinationOf,
  dial,
  echo,
  freePort,
  named,
  openPlane,
  serveTcp,
  serviceOf,
  stateOf,
  until,
} from './fixture.js'
import { calls } from '../../../../mesh/dataplane/userspace/libc.js'
import type { Socket } from 'node:net'
import type { Test } from 'tap'

const MSG_OOB = 1

async function proxyTo(test: Test, onConnection: (socket: Socket) => void) {
  const plane = openPlane(test)
  const port = await freePort()
  const backend = await serveTcp(test, onConnection)
  const service = serviceOf({ port, destinations: [destinationOf('a', backend)] })
  await plane.apply(stateOf(service))
  return { plane, port, service }
}

t.test('connections go to every destination in turn', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const destinations = await Promise.all(
    ['a', 'b', 'c'].map(async id => destinationOf(id, await serveTcp(t, named(id)))),
  )
  await plane.apply(stateOf(serviceOf({ port, destinations })))
  const answers = []
  for (let i = 0; i < 6; i++) answers.push(await askTcp(port))
  t.strictSame(answers, ['a', 'b', 'c', 'a', 'b', 'c'])
})

t.test('32 MB arrive as they were sent, both ways, past a slow reader', async t => {
  const { port, plane } = await proxyTo(t, echo)
  const sent = randomBytes(32 * 1024 * 1024)
  const client = await dial(t, port)
  const hash = createHash('sha256')
  let received = 0
  client.end(sent)
  client.pause()
  // Nothing is read until the whole way is full and the sender stands still.
  let before = -1
  await until(async () => {
    const [stats] = await plane.stats()
    const isStill = Number(stats?.inBytes) === before && before > 0
    before = Number(stats?.inBytes)
    await new Promise(resolve => setTimeout(resolve, 20))
    return isStill
  })
  t.ok(before < sent.length, 'the sender was held back')
  client.on('data', part => {
    hash.update(part)
    received += part.length
  })
  client.resume()
  await once(client, 'end')
  t.equal(received, sent.length)
  t.equal(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'))
  t.ok(await until(async () => (await plane.stats())[0]?.activeConnections === 0))
  t.strictSame(await plane.stats(), [
    {
      ...{ serviceKey: 'web', destinationId: 'a', activeConnections: 0 },
      ...{ inBytes: BigInt(sent.length), outBytes: BigInt(sent.length) },
    },
  ])
})

t.test(
  'a client that ends still gets the answer, and a server that ends still gets bytes',
  async t => {
    const heard: string[] = []
    const { port } = await proxyTo(t, socket => {
      socket.setEncoding('utf8').on('data', (text: string) => {
        heard.push(text)
        if (text === 'hello') socket.end('bye')
      })
      socket.on('end', () => heard.push('END'))
    })
    const client = await dial(t, port)
    client.setEncoding('utf8').write('hello')
    t.strictSame(await once(client, 'data'), ['bye'])
    await once(client, 'end')
    client.write('more')
    t.ok(await until(() => heard.includes('more')))
    client.end()
    t.ok(await until(() => heard.includes('END')))

    const late = await proxyTo(t, socket => {
      let text = ''
      socket.setEncoding('utf8').on('data', (part: string) => (text += part))
      socket.on('end', () => socket.end(`got ${text}`))
    })
    const asking = await dial(t, late.port)
    asking.setEncoding('utf8').end('question')
    t.strictSame(await once(asking, 'data'), ['got question'])
  },
)

t.test('bytes behind an urgent one are not left lying', async t => {
  let text = ''
  const { port } = await proxyTo(
    t,
    socket => void socket.on('data', part => (text += String(part))),
  )
  // Node has no MSG_OOB.
  const block = new Block(BLOCK_BYTES)
  const fd = processSockets(block).create('tcp', 4)
  t.teardown(() => closeSync(fd))
  calls.connect(fd, block.address + NAME, writeName(block, Buffer.from([127, 0, 0, 1]), port))
  const send = (part: string, flags = 0): boolean => {
    const length = block.bytes.write(part, DATA)
    return calls.send(fd, block.address + DATA, length, flags) === length
  }
  t.ok(await until(() => send('before')))
  t.ok(send('!', MSG_OOB) && send('behind'))
  t.ok(await until(() => text === 'beforebehind'), text)
})

t.test('a reset of the client reaches the server', async t => {
  let seen: Error | undefined
  const { port } = await proxyTo(t, socket => {
    socket.write('hello')
    socket.on('error', error => (seen = error))
  })
  const client = await dial(t, port)
  await once(client, 'data')
  client.resetAndDestroy()
  t.ok(await until(() => seen !== undefined))
  t.match(seen, { code: 'ECONNRESET' })
})

t.test('a reset of the server reaches the client', async t => {
  const { port } = await proxyTo(
    t,
    socket => void socket.once('data', () => socket.resetAndDestroy()),
  )
  const client = await dial(t, port)
  client.write('hello')
  const [error] = (await once(client, 'error').catch((thrown: unknown) => [thrown])) as [unknown]
  t.match(error, { code: 'ECONNRESET' })
})

t.test('a port without destinations refuses, holds its port, and serves again at once', async t => {
  const { plane, port, service } = await proxyTo(t, named('a'))
  t.equal(await askTcp(port), 'a')
  await plane.apply(stateOf({ ...service, destinations: [] }))
  t.equal(await askTcp(port), 'ECONNREFUSED')
  const other = openPlane(t)
  await t.rejects(other.apply(stateOf(service)), { code: 'MESH_PORT_IN_USE' })
  await plane.apply(stateOf(service))
  t.equal(await askTcp(port), 'a')
})

t.test('a family without destinations refuses, the other serves', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const [v4, v6] = [await serveTcp(t, named('four')), await serveTcp(t, named('six'), '::1')]
  const only4 = destinationOf('a', v4)
  await plane.apply(stateOf(serviceOf({ port, destinations: [only4] })))
  t.equal(await askTcp(port), 'four')
  t.equal(await askTcp(port, '::1'), 'ECONNREFUSED')
  const only6 = { id: 'b', ipv6: '::1', port: v6, weight: 1, ownAddresses: [] }
  await plane.apply(stateOf(serviceOf({ port, destinations: [only4, only6] })))
  t.equal(await askTcp(port), 'four')
  t.equal(await askTcp(port, '::1'), 'six')
})

t.test('a removed destination keeps its connections and gets no new ones', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const a = destinationOf('a', await serveTcp(t, echo))
  const b = destinationOf('b', await serveTcp(t, named('b')))
  await plane.apply(stateOf(serviceOf({ port, destinations: [a] })))
  const client = await dial(t, port)
  await plane.apply(stateOf(serviceOf({ port, destinations: [b] })))
  client.setEncoding('utf8').write('still here')
  t.strictSame(await once(client, 'data'), ['still here'])
  t.equal(await askTcp(port), 'b')
  t.match(
    (await plane.stats()).find(({ destinationId }) => destinationId === 'a'),
    { activeConnections: 1, inBytes: 10n, outBytes: 10n },
  )
  client.destroy()
  t.ok(await until(async () => (await plane.stats()).length === 1), 'then nothing is kept of it')
})

t.test('who refuses is passed over for another, and for a while after three times', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const dead = destinationOf('dead', await freePort())
  const service = serviceOf({
    port,
    destinations: [dead, destinationOf('a', await serveTcp(t, named('a')))],
  })
  await plane.apply(stateOf(service))
  for (let i = 0; i < 8; i++) t.equal(await askTcp(port), 'a')
  const hops = await plane.trace(service)
  t.match(
    hops.find(({ where }) => where === 'destination dead')?.what,
    /passed over for \d+ s more/,
  )
  await plane.apply(stateOf({ ...service, destinations: [dead] }))
  t.equal(await askTcp(port), 'ECONNRESET', 'the only one is tried all the same')
})

t.test('who does not answer a connect is passed over', async t => {
  const plane = openPlane(t, { connectTimeoutMs: 100 })
  const port = await freePort()
  // A full backlog answers nothing.
  const stuck = await stuckPort(t)
  const destinations = [
    destinationOf('stuck', stuck),
    destinationOf('a', await serveTcp(t, named('a'))),
  ]
  await plane.apply(stateOf(serviceOf({ port, destinations })))
  t.equal(await askTcp(port), 'a')
  const isIdle = async () =>
    (await plane.stats()).every(({ activeConnections }) => activeConnections === 0)
  t.ok(await until(isIdle))
})

t.test('close() stops listening and lets connections live, remove() resets them', async t => {
  const { plane, port, service } = await proxyTo(t, echo)
  const client = await dial(t, port)
  await plane.close()
  t.equal(await askTcp(port), 'ECONNREFUSED')
  client.setEncoding('utf8').write('on')
  t.strictSame(await once(client, 'data'), ['on'])
  await t.rejects(plane.apply(stateOf(service)), { code: 'MESH_NO_DATAPLANE' })
  const ended = once(client, 'close').catch((error: unknown) => error)
  await plane.remove()
  t.match(await ended, { code: 'ECONNRESET' })
})

t.test('2000 short connections leave nothing behind', async t => {
  const { plane, port } = await proxyTo(t, named('a'))
  const before = countDescriptors()
  for (let i = 0; i < 40; i++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => askTcp(port)))
    if (answers.some(answer => answer !== 'a')) t.fail(`got ${answers.join()}`)
  }
  t.ok(await until(async () => (await plane.stats())[0]?.activeConnections === 0))
  t.ok(await until(() => countDescriptors() <= before), 'no descriptor is left open')
})

function countDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** A listening socket that nobody accepts on, with its queue full. */
async function stuckPort(t: Test): Promise<number> {
  const block = new Block(BLOCK_BYTES)
  const fd = processSockets(block).bind('tcp', { family: 4, address: '127.0.0.1', port: 0 }, false)
  startListening(block, fd, 0)
  const { port } = readLocal(block, fd)
  t.teardown(() => closeSync(fd))
  const first = await dial(t, port)
  t.ok(first.remotePort)
  for (let i = 0; i < 2; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    t.teardown(() => socket.destroy())
  }
  return port
}
