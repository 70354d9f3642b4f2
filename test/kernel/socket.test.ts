import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { closeSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { closeNetns, createNetns, runInNetns } from '../../src/kernel/netns.js'
import { canBind, openTcpListener, openUdpSocket } from '../../src/kernel/socket.js'
import { asRoot, run } from '../drivers/lab.js'

t.test('openUdpSocket() says EADDRINUSE where the port is taken', async t => {
  const first = openUdpSocket({ address: '127.0.0.1', port: 0 })
  t.teardown(() => closeSync(first.fd))
  t.throws(() => openUdpSocket({ address: '127.0.0.1', port: first.port }), {
    name: 'KernelError',
    code: 'EADDRINUSE',
  })
})

t.test('dgram adopts a socket, which answers at its port', async t => {
  const { fd, port } = openUdpSocket({ address: '127.0.0.1', port: 0 })
  const server = createSocket('udp4')
  const client = createSocket('udp4')
  t.teardown(() => [server, client].forEach(socket => socket.close()))
  server.bind({ fd })
  client.send('hello', port, '127.0.0.1')
  const [message] = (await once(server, 'message')) as [Buffer]
  t.equal(message.toString(), 'hello')
})

t.test('net adopts a listener, which accepts at its port', async t => {
  const { fd, port } = openTcpListener({ address: '127.0.0.1', port: 0, backlog: 8 })
  const server = createServer(socket => socket.end('hello'))
  server.listen({ fd })
  t.teardown(() => server.close())
  const client = connect(port, '127.0.0.1')
  const [bytes] = (await once(client, 'data')) as [Buffer]
  t.equal(bytes.toString(), 'hello')
  client.destroy()
})

t.test('a socket stays in the namespace it was made in', asRoot, async t => {
  const netns = createNetns()
  const { fd, port } = runInNetns(netns, () => openUdpSocket({ address: '127.0.0.11', port: 0 }))
  t.teardown(() => {
    closeSync(fd)
    closeNetns(netns)
  })
  t.match(run(netns, 'ss', '-Hunl'), `127.0.0.11:${port}`)
})

const [LOOPBACK, EVERYWHERE] = ['127.0.0.1', '0.0.0.0']
const holders: readonly (readonly [string, string, string, boolean])[] = [
  ['the same address', LOOPBACK, LOOPBACK, false],
  ['all addresses', EVERYWHERE, LOOPBACK, false],
  ['one address, all are asked for', LOOPBACK, EVERYWHERE, false],
  ['another address', '127.0.0.2', LOOPBACK, true],
  ['all addresses of both families', '::', LOOPBACK, false],
  ['the same address of IPv6', '::1', '::1', false],
  ['all of IPv4, IPv6 is asked for', EVERYWHERE, '::', true],
  ['both families, IPv6 is asked for', '::', '::', false],
]
for (const protocol of ['tcp', 'udp'] as const) {
  for (const [name, held, asked, expected] of holders) {
    t.test(`canBind() where ${protocol} holds ${name}`, asRoot, async t => {
      const netns = createNetns()
      t.teardown(() => closeNetns(netns))
      runInNetns(netns, () => {
        const place = { address: held, port: 8080 }
        const ask = (): boolean => canBind({ protocol, address: asked, port: 8080 })
        t.equal(ask(), true, 'nobody has it')
        const { fd } =
          protocol === 'tcp' ? openTcpListener({ ...place, backlog: 8 }) : openUdpSocket(place)
        t.equal(ask(), expected)
        const other = protocol === 'tcp' ? 'udp' : 'tcp'
        t.equal(canBind({ protocol: other, address: asked, port: 8080 }), true)
        closeSync(fd)
        t.equal(ask(), true, 'it is free again')
      })
      t.equal(run(netns, 'ss', '-Htuan'), '', 'nothing is left')
    })
  }
}

t.test('canBind() tells an address that is not here from a port that is taken', async t => {
  const place = { protocol: 'tcp', address: '203.0.113.77', port: 8080 } as const
  t.throws(() => canBind(place), { name: 'KernelError', code: 'EADDRNOTAVAIL' })
})

t.test('canBind() does not mind a connection that is over', asRoot, async t => {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  const { fd, port } = runInNetns(netns, () =>
    openTcpListener({ address: LOOPBACK, port: 0, backlog: 8 }),
  )
  const server = createServer(socket => socket.end())
  server.listen({ fd })
  const script = `exec 3<>/dev/tcp/${LOOPBACK}/${port} && exec cat <&3`
  const client = runInNetns(netns, () => spawn('bash', ['-c', script], { stdio: 'ignore' }))
  await once(client, 'exit')
  server.close()
  await once(server, 'close')
  t.match(run(netns, 'ss', '-Htan'), `${LOOPBACK}:${port}`)
  t.equal(
    runInNetns(netns, () => canBind({ protocol: 'tcp', address: LOOPBACK, port })),
    true,
  )
})
