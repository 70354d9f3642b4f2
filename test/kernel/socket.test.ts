import { createSocket } from 'node:dgram'
import { closeSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { closeNetns, createNetns, runInNetns } from '../../src/kernel/netns.js'
import { openTcpListener, openUdpSocket } from '../../src/kernel/socket.js'
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
