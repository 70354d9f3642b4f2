/** Probes against servers that exist. */

import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { connect, createServer, Socket, type Socket as Connection } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { createProbe } from '../../../mesh/health/create-probe.js'
import type { HttpProbeSpec, ProbeResult, ProbeSpec } from '../../../mesh/health/probe.js'
import type { ProbedReplica } from '../../../mesh/health/create-probe.js'
import { closeNetns, createNetns, runInNetns } from '../../../src/kernel/netns.js'
import { openTcpListener, unboundTcp } from '../../../src/kernel/socket.js'
import { asRoot } from '../../drivers/lab.js'
import { answer, countDescriptors, refusedPort, serve, serveTls } from './servers.js'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

const replica: ProbedReplica = {
  address: '127.0.0.1',
  run: async () => ({ code: 0, output: '' }),
}

function probe(spec: ProbeSpec, of: Partial<ProbedReplica> = {}): Promise<ProbeResult> {
  return createProbe(
    { timeoutMs: 5000, ...spec },
    { ...replica, ...of },
  )(new AbortController().signal)
}

function get(port: number, more: Partial<HttpProbeSpec> = {}): HttpProbeSpec {
  return { kind: 'http', port, path: '/healthz', ...more }
}

/** Waits for a condition, for 5 s at the most. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 5000; performance.now() < end;) {
    if (await holds()) return
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  throw new Error(`not within 5 s: ${what}`)
}

t.test('a tcp probe succeeds where the port accepts, and hangs up', async t => {
  const server = await serve(t, () => undefined)
  t.strictSame(await probe({ kind: 'tcp', port: server.port }), { kind: 'success' })
  await until('the connection is closed', async () => (await server.open()) === 0)
  t.strictSame(server.received, [''], 'nothing was sent')
})

for (const kind of ['tcp', 'http'] as const) {
  t.test(`a ${kind} probe of a port nobody listens on is refused`, async t => {
    const port = await refusedPort(t)
    t.strictSame(await probe(kind === 'tcp' ? { kind, port } : get(port)), {
      kind: 'failure',
      reason: 'connection refused',
    })
  })

  t.test(`a ${kind} probe of a server that accepts no more times out`, async t => {
    const port = await openFullListener(t)
    const timing = { timeoutMs: 200 }
    const spec: ProbeSpec = kind === 'tcp' ? { kind, port, ...timing } : get(port, timing)
    const startedAt = performance.now()
    const { kind: outcome, ...rest } = await probe(spec)
    const took = performance.now() - startedAt
    t.equal(outcome, 'failure')
    t.match(rest, { reason: /^timed out after 200 ms( while connecting)?$/ })
    t.ok(took >= 195 && took < 2000, `${took} ms`)
  })
}

/** A listener whose queue is full: the kernel drops a further SYN (listen(2)). */
async function openFullListener(t: Test): Promise<number> {
  const { fd, port } = openTcpListener({ address: '127.0.0.1', port: 0, backlog: 0 })
  const clients: Connection[] = []
  t.teardown(() => {
    for (const client of clients) client.destroy()
    closeSync(fd)
  })
  for (let i = 0; i < 4; i++) {
    const client = connect(port, '127.0.0.1').on('error', () => undefined)
    clients.push(client)
    const late = new Promise(resolve => setTimeout(() => resolve('late'), 200))
    if ((await Promise.race([once(client, 'connect'), late])) === 'late') return port
  }
  throw new Error('the queue of the listener does not fill')
}

for (const [name, text, more, expected] of [
  ['200', OK, {}, undefined],
  ['204', 'HTTP/1.1 204 No Content\r\n\r\n', {}, undefined],
  ['301', 'HTTP/1.1 301 Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n', {}, undefined],
  [
    '301 where only 2xx counts',
    'HTTP/1.1 301 Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n',
    { status: { from: 200, to: 299 } },
    'HTTP 301',
  ],
  ['503', 'HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy', {}, 'HTTP 503'],
  [
    '404 that is wanted',
    'HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n',
    { status: { from: 404, to: 404 } },
    undefined,
  ],
  ['HTTP/1.0 without a length', 'HTTP/1.0 200 OK\r\n\r\n', { timeoutMs: 200 }, undefined],
  [
    'a body that never ends',
    'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
    { timeoutMs: 200 },
    undefined,
  ],
  [
    'an answer to HEAD',
    'HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n',
    { method: 'HEAD' },
    undefined,
  ],
  ['no HTTP', '220 mail.example ESMTP\r\n', {}, 'not an HTTP server'],
] as const) {
  t.test(`an http probe of ${name}`, async t => {
    const server = await serve(t, answer(text))
    const result = await probe(get(server.port, more))
    t.strictSame(
      result,
      expected === undefined ? { kind: 'success' } : { kind: 'failure', reason: expected },
    )
    t.equal(server.received.length, 1, 'one connection: a redirect is not followed')
    await until('the connection is closed', async () => (await server.open()) === 0)
  })
}

t.test('an http probe asks for its path, with its Host', async t => {
  const server = await serve(t, answer(OK))
  await probe(get(server.port, { path: '/ready?deep=1' }))
  await probe(get(server.port, { method: 'HEAD', host: 'shop.example:8080' }))
  const [first = '', second = ''] = server.received
  t.match(first, /^GET \/ready\?deep=1 HTTP\/1\.1\r\n/)
  t.match(first.toLowerCase(), `host: 127.0.0.1:${server.port}\r\n`)
  t.match(first.toLowerCase(), 'connection: close\r\n')
  t.match(second, /^HEAD \/healthz HTTP\/1\.1\r\n/)
  t.match(second.toLowerCase(), 'host: shop.example:8080\r\n')
})

t.test('an http probe reads no more of a huge body than is polite', async t => {
  let written = 0
  const server = await serve(t, socket => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      const chunk = Buffer.alloc(65_536)
      const pump = (): void => {
        while (written < 1e9 && !socket.destroyed) {
          written += chunk.length
          if (!socket.write(chunk)) return void socket.once('drain', pump)
        }
      }
      pump()
    })
  })
  t.strictSame(await probe(get(server.port)), { kind: 'success' })
  await until('the connection is closed', async () => (await server.open()) === 0)
  t.ok(written < 3e7, `${written} bytes were written: what socket buffers hold`)
})

t.test('an http probe of a server that says nothing times out and says where', async t => {
  const server = await serve(t, () => undefined)
  const result = await probe(get(server.port, { timeoutMs: 150 }))
  t.strictSame(result, { kind: 'failure', reason: 'timed out after 150 ms without an answer' })
  await until('the connection is closed', async () => (await server.open()) === 0)
})

t.test('an http probe of a server that trickles headers times out', async t => {
  const server = await serve(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\n')
    const drip = setInterval(() => socket.write('x: y\r\n'), 10)
    socket.once('close', () => clearInterval(drip))
  })
  const result = await probe(get(server.port, { timeoutMs: 300 }))
  t.strictSame(result, { kind: 'failure', reason: 'timed out after 300 ms without an answer' })
  await until('the connection is closed', async () => (await server.open()) === 0)
})

for (const [name, end, reason] of [
  ['resets', (socket: Socket) => socket.resetAndDestroy(), 'connection reset'],
  ['hangs up', (socket: Socket) => socket.end(), 'connection closed without an answer'],
] as const) {
  t.test(`an http probe of a server that ${name} after the request`, async t => {
    const server = await serve(t, socket => void socket.once('data', () => end(socket)))
    t.strictSame(await probe(get(server.port)), { kind: 'failure', reason })
    t.equal(server.received.length, 1, 'it is not asked again')
  })

  t.test(`an http probe of a server that ${name} at once`, async t => {
    const server = await serve(t, end)
    const result = await probe(get(server.port))
    t.match(result, { kind: 'failure', reason: /^connection (reset|closed without an answer)$/ })
    t.equal(server.received.length, 1, 'it is not asked again')
  })
}

t.test('an https probe takes a certificate that nobody signed', async t => {
  const server = await serveTls(t, answer(OK))
  const spec = get(server.port, { isTls: true, host: 'replica.test' })
  t.strictSame(await probe(spec), { kind: 'success' })
  t.strictSame(await probe(get(server.port, { isTls: true })), { kind: 'success' })
  await until('the connections are closed', async () => (await server.open()) === 0)
})

t.test('an https probe of a server without TLS fails', async t => {
  const silent = await serve(t, () => undefined)
  t.strictSame(await probe(get(silent.port, { isTls: true, timeoutMs: 150 })), {
    kind: 'failure',
    reason: 'timed out after 150 ms without a TLS handshake',
  })
  const plain = await serve(t, answer(OK))
  t.strictSame(await probe(get(plain.port, { isTls: true })), {
    kind: 'failure',
    reason: 'not a TLS server',
  })
  const closing = await serve(t, socket => void socket.end())
  t.match(await probe(get(closing.port, { isTls: true })), {
    kind: 'failure',
    reason: 'connection reset',
  })
})

for (const [name, outcome, expected] of [
  ['0', { code: 0, output: 'fine' }, { kind: 'success' }],
  ['1', { code: 1, output: '' }, { kind: 'failure', reason: 'exit code 1' }],
  [
    '7 with words',
    { code: 7, output: 'trying\ncurl: (7) Failed to connect\n' },
    { kind: 'failure', reason: 'exit code 7: curl: (7) Failed to connect' },
  ],
  [
    'none, for it was killed',
    { code: undefined, output: '' },
    { kind: 'failure', reason: 'timed out after 5 s' },
  ],
] as const) {
  t.test(`a command probe whose code is ${name}`, async t => {
    const run = async () => outcome
    t.strictSame(await probe({ kind: 'command', argv: ['x'] }, { run }), expected)
  })
}

t.test('a command probe runs its words within its time-out', async t => {
  const asked: unknown[] = []
  const run: ProbedReplica['run'] = async (argv, timeoutMs) => {
    asked.push(argv, timeoutMs)
    return { code: 0, output: '' }
  }
  await probe({ kind: 'command', argv: ['curl', '-f', 'localhost'] }, { run })
  t.strictSame(asked, [['curl', '-f', 'localhost'], 5000])
})

t.test('a command probe that cannot be run fails with the reason', async t => {
  const run = () => Promise.reject(new Error('Cannot run a command in "web": it is not running'))
  t.strictSame(await probe({ kind: 'command', argv: ['x'] }, { run }), {
    kind: 'failure',
    reason: 'Cannot run a command in "web": it is not running',
  })
})

t.test('a command probe does not wait for a runner that never ends', async t => {
  const run = () => new Promise<never>(() => undefined)
  const result = await probe({ kind: 'command', argv: ['x'], timeoutMs: 10 }, { run })
  t.match(result, { kind: 'failure', reason: /^timed out after/ })
})

t.test('being out of descriptors says nothing about a replica', async t => {
  const createSocket = (): Socket => {
    throw Object.assign(new Error('socket: EMFILE'), { code: 'EMFILE' })
  }
  const expected = { kind: 'unknown', reason: 'could not probe: EMFILE' } as const
  t.strictSame(await probe({ kind: 'tcp', port: 80 }, { createSocket }), expected)
  t.strictSame(await probe(get(80), { createSocket }), expected)
})

t.test('a network stack that is gone is a failure', async t => {
  const createSocket = (): Socket => {
    throw new Error('Cannot enter a network namespace: EBADF')
  }
  t.strictSame(await probe({ kind: 'tcp', port: 80 }, { createSocket }), {
    kind: 'failure',
    reason: 'Cannot enter a network namespace: EBADF',
  })
})

t.test('a cancelled probe ends at once and closes its connection', async t => {
  const server = await serve(t, () => undefined)
  const cancel = new AbortController()
  const running = createProbe(get(server.port, { timeoutMs: 60_000 }), replica)(cancel.signal)
  await until('the request has arrived', () => server.received[0]?.includes('GET') === true)
  cancel.abort()
  t.strictSame(await running, { kind: 'unknown', reason: 'cancelled' })
  await until('the connection is closed', async () => (await server.open()) === 0)
  const never = createProbe(get(server.port), replica)(AbortSignal.abort())
  t.strictSame(await never, { kind: 'unknown', reason: 'cancelled' })
})

t.test('probes reach a server that only the namespace of the replica has', asRoot, async t => {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  const createSocket = (family: 4 | 6): Socket =>
    new Socket({ fd: runInNetns(netns, () => unboundTcp(family)) })
  for (const address of ['127.0.0.1', '::1']) {
    const { fd, port } = runInNetns(netns, () => openTcpListener({ address, port: 0, backlog: 8 }))
    const server = createServer(answer(OK)).listen({ fd })
    t.teardown(() => server.close())
    for (const spec of [{ kind: 'tcp', port } as const, get(port)]) {
      const name = `${spec.kind} at ${address}`
      t.strictSame(await probe(spec, { address, createSocket }), { kind: 'success' }, name)
      t.match(await probe(spec), { kind: 'failure' }, `${name}, asked from outside`)
    }
  }
})

t.test('no server makes an http probe throw, whenever it breaks off or the time is up', async t => {
  const texts = [
    OK,
    'HTTP/1.0 200 OK\r\n\r\nuntil the end',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    `HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n${'x'.repeat(50_000)}`,
    `HTTP/1.0 200 OK\r\n\r\n${'x'.repeat(50_000)}`,
    `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(50_000)}\r\n\r\n`,
    OK + OK + OK,
  ]
  // Seeded, so that a failure comes again (Numerical Recipes' generator).
  let seed = 1
  const random = (below: number): number =>
    (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) % below
  const server = await serve(t, socket => {
    const text = texts[random(texts.length)] ?? OK
    const cut = random(3) === 0 ? text.length : random(text.length)
    const [end, delayMs] = [random(4), random(40)]
    socket.once('data', () => {
      socket.write(text.slice(0, cut))
      setTimeout(() => {
        if (end === 0) socket.end(text.slice(cut))
        else if (end === 1) socket.resetAndDestroy()
        else if (end === 2) socket.destroy()
        else socket.write(text.slice(cut))
      }, delayMs)
    })
  })
  for (let round = 0; round < 40; round++) {
    const timeoutMs = 10 + random(30)
    await Promise.all(Array.from({ length: 10 }, () => probe(get(server.port, { timeoutMs }))))
  }
  await until('every connection is closed', async () => (await server.open()) === 0)
  t.pass('tap fails a test during which something was thrown at nobody')
})

t.test('200 probes of every kind leave no descriptor behind', async t => {
  const server = await serve(t, answer(OK))
  const silent = await serve(t, () => undefined)
  const tls = await serveTls(t, answer(OK))
  const full = await openFullListener(t)
  const refused = await refusedPort(t)
  const specs: readonly ProbeSpec[] = [
    { kind: 'tcp', port: server.port },
    { kind: 'tcp', port: refused },
    { kind: 'tcp', port: full, timeoutMs: 20 },
    get(server.port),
    get(refused),
    get(full, { timeoutMs: 20 }),
    get(silent.port, { timeoutMs: 20 }),
    get(tls.port, { isTls: true }),
    get(server.port, { isTls: true }),
    get(silent.port, { isTls: true, timeoutMs: 20 }),
  ]
  await Promise.all(specs.map(spec => probe(spec)))
  const isQuiet = async (): Promise<boolean> =>
    (await server.open()) + (await silent.open()) + (await tls.open()) === 0
  await until('every connection is closed', isQuiet)
  const before = countDescriptors()
  for (let round = 0; round < 20; round++) await Promise.all(specs.map(spec => probe(spec)))
  await until('every connection is closed', isQuiet)
  await until('no more descriptors than before', () => countDescriptors() <= before)
  t.pass()
})

for (const [name, spec, address] of [
  ['a name for an address', { kind: 'tcp', port: 80 }, 'web'],
  ['port 0', { kind: 'tcp', port: 0 }, '127.0.0.1'],
  ['a path without a slash', { kind: 'http', port: 80, path: 'healthz' }, '127.0.0.1'],
  ['a path with a line break', { kind: 'http', port: 80, path: '/a\r\nx: y' }, '127.0.0.1'],
  [
    'a host with a line break',
    { kind: 'http', port: 80, path: '/', host: 'a\r\nx: y' },
    '127.0.0.1',
  ],
  ['no command', { kind: 'command', argv: [] }, '127.0.0.1'],
  ['no time', { kind: 'tcp', port: 80, timeoutMs: 0 }, '127.0.0.1'],
] as const) {
  t.test(`createProbe() refuses ${name}`, async t => {
    t.throws(() => createProbe(spec, { ...replica, address }), { code: 'HEALTH_BAD_PROBE' })
  })
}
