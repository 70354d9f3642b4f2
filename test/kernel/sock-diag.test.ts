import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import { openTcpListener, openUdpSocket } from '../../src/kernel/socket.js'
import {
  destroyTcp,
  listListeners,
  listTcpConnections,
  parseConnection,
  parseListener,
  type TcpConnection,
} from '../../src/kernel/sock-diag.js'
import { asRoot, run } from '../drivers/lab.js'

function openSandbox(t: Test): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

interface Conversation {
  readonly port: number
  readonly accepted: Socket
  /** The exit code of a client that reads until the connection ends; 0: in peace. */
  readonly clientEnd: Promise<number | null>
}

/** A client that is connected to a server at `address`, both in `netns`. */
async function converse(
  t: Test,
  netns: Netns,
  address: string,
  to = address,
): Promise<Conversation> {
  const { fd, port } = runInNetns(netns, () => openTcpListener({ address, port: 0, backlog: 8 }))
  const server = createServer()
  server.listen({ fd })
  const connection = once(server, 'connection')
  const script = `exec 3<>/dev/tcp/${to}/${port} && exec cat <&3`
  const client = runInNetns(netns, () => spawn('bash', ['-c', script], { stdio: 'ignore' }))
  const exit = once(client, 'exit')
  const [accepted] = (await connection) as [Socket]
  accepted.on('error', () => undefined)
  t.teardown(() => {
    client.kill('SIGKILL')
    accepted.destroy()
    server.close()
  })
  return { port, accepted, clientEnd: exit.then(([code]: (number | null)[]) => code ?? null) }
}

function connectionsAt(netns: Netns, localPort: number): readonly TcpConnection[] {
  return runInNetns(netns, () => listTcpConnections({ localPort }))
}

for (const [name, listen, to] of [
  ['IPv4', '127.0.0.1', '127.0.0.1'],
  ['IPv6', '::1', '::1'],
  ['IPv4 on a socket of IPv6', '::', '127.0.0.1'],
] as const) {
  t.test(`listTcpConnections() tells both ends of ${name} as ss does`, asRoot, async t => {
    const netns = openSandbox(t)
    const { port } = await converse(t, netns, listen, to)
    const family = to === '::1' ? 6 : 4
    const [server] = connectionsAt(netns, port)
    t.match(server, {
      family,
      state: 'established',
      localAddress: to,
      localPort: port,
      remoteAddress: to,
      linkIndex: 0,
    })
    const all = runInNetns(netns, () => listTcpConnections())
    t.equal(all.length, 2)
    const client = all.find(({ remotePort }) => remotePort === port)
    t.equal(client?.localPort, server?.remotePort)
    t.match(run(netns, 'ss', '-Htne', 'sport', '=', `:${port}`), `ino:${server?.inode}`)
    t.equal(runInNetns(netns, () => listTcpConnections({ remotePort: port })).length, 1)
  })

  t.test(`destroyTcp() resets a connection of ${name}, that one only`, asRoot, async t => {
    const netns = openSandbox(t)
    const [one, two] = [await converse(t, netns, listen, to), await converse(t, netns, listen, to)]
    const [target] = connectionsAt(netns, one.port)
    if (target === undefined) throw new Error('there is no connection')
    const aborted = once(one.accepted, 'error')
    t.equal(
      runInNetns(netns, () => destroyTcp({ ...target, cookie: target.cookie + 1n })),
      false,
      'a socket that took its place stays',
    )
    t.equal(
      runInNetns(netns, () => destroyTcp(target)),
      true,
    )
    t.match(await aborted, [{ code: 'ECONNABORTED' }])
    t.not(await one.clientEnd, 0, 'the client sees a reset, not an end')
    t.equal(
      runInNetns(netns, () => destroyTcp(target)),
      false,
      'it is gone',
    )
    t.match(connectionsAt(netns, two.port), [{ state: 'established' }])
  })
}

t.test('listTcpConnections() tells half-closed connections', asRoot, async t => {
  const netns = openSandbox(t)
  const { port, accepted } = await converse(t, netns, '127.0.0.1')
  // The client's `cat` ends with the stream and closes; until then the server waits for its FIN.
  accepted.pause()
  accepted.end()
  const deadline = performance.now() + 5_000
  const states = (): readonly string[] => connectionsAt(netns, port).map(({ state }) => state)
  while (!/wait/.test(states()[0] ?? '')) {
    if (performance.now() > deadline) break
    await new Promise(resolve => setImmediate(resolve))
  }
  t.match(states(), [/^(fin-wait-[12]|time-wait)$/])
})

t.test('listListeners() tells who listens, on what, and for whom', asRoot, async t => {
  const netns = openSandbox(t)
  const opened = runInNetns(netns, () => [
    openTcpListener({ address: '127.0.0.1', port: 8001, backlog: 8 }),
    openTcpListener({ address: '::', port: 8002, backlog: 8 }),
    openUdpSocket({ address: '0.0.0.0', port: 8003 }),
    openUdpSocket({ address: '::1', port: 8004 }),
  ])
  t.teardown(() => opened.forEach(({ fd }) => closeSync(fd)))
  const script = 'exec 3<>/dev/udp/127.0.0.1/9; exec sleep 60'
  const client = runInNetns(netns, () => spawn('bash', ['-c', script], { stdio: 'ignore' }))
  t.teardown(() => client.kill('SIGKILL'))
  const found = runInNetns(netns, () => listListeners())
  t.match(
    [...found].sort((a, b) => a.port - b.port),
    [
      { protocol: 'tcp', family: 4, address: '127.0.0.1', port: 8001, isDualStack: false },
      { protocol: 'tcp', family: 6, address: '::', port: 8002, isDualStack: true },
      { protocol: 'udp', family: 4, address: '0.0.0.0', port: 8003, isDualStack: false },
      { protocol: 'udp', family: 6, address: '::1', port: 8004, isDualStack: false },
    ],
  )
  t.equal(found.length, run(netns, 'ss', '-Htuln').trim().split('\n').length)
})

t.test('listListeners() tells that a socket is for IPv6 only', asRoot, async t => {
  const netns = openSandbox(t)
  run(netns, 'sysctl', '-wq', 'net.ipv6.bindv6only=1')
  const { fd } = runInNetns(netns, () => openUdpSocket({ address: '::', port: 8005 }))
  t.teardown(() => closeSync(fd))
  t.match(
    runInNetns(netns, () => listListeners()),
    [{ address: '::', isDualStack: false }],
  )
})

t.test('the parsers of sockets take any bytes', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(2, 10), (bytes, family) => {
      const message = Buffer.from([family, ...bytes])
      parseConnection(message)
      parseListener(message, 'tcp')
    }),
  )
})
