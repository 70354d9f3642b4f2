import t from 'tap'
import type { Test } from 'tap'
import { Resolver as NodeResolver } from 'node:dns/promises'
import { createSocket } from 'node:dgram'
import { composeQuery } from '../../resolver/wire/query.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { loadLibc } from '../../resolver/listen/libc.js'
import { openUdpSocket } from '../../resolver/listen/socket.js'
import { Resolver } from '../../resolver/resolver.js'
import { TcpClient, UdpClient, until, viewOf } from './listen/fixture.js'
import type { LocalResolver } from '../../resolver/local-resolver.js'
import type { NetworkNames } from '../../resolver/zone.js'
import type { OpenOptions } from '../../resolver/resolver.js'
import { createServer } from 'node:net'

const A = 1
const libc = loadLibc()

const net1: NetworkNames = {
  name: 'net1',
  subnets: ['10.0.1.0/24'],
  gateways: ['10.0.1.1'],
  endpoints: [
    { id: 'web', name: 'web', aliases: ['shop'], addresses: ['10.0.1.5', 'fd00:1::5'] },
    { id: 'db', name: 'db', addresses: ['10.0.1.6'] },
  ],
}

async function open(t: Test, options: OpenOptions = {}): Promise<LocalResolver> {
  const resolver = await Resolver.open({ networks: [net1], ...options })
  t.teardown(() => resolver.close())
  return resolver
}

function stubOf({ address, port }: LocalResolver): NodeResolver {
  const stub = new NodeResolver({ timeout: 2000, tries: 1 })
  stub.setServers([address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`])
  return stub
}

/** An upstream that answers every A with 203.0.113.10. */
async function openUpstream(t: Test): Promise<string> {
  const socket = createSocket('udp4')
  socket.on('message', (query, peer) => {
    let end = 12
    while (query[end] !== 0) end += (query[end] ?? 0) + 1
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 10])
    const reply = Buffer.concat([query.subarray(0, end + 5), record])
    reply.writeUInt16BE(0x8180, 2)
    reply.writeUInt16BE(1, 6)
    reply.writeUInt32BE(0, 8)
    socket.send(reply, peer.port, peer.address)
  })
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve))
  t.teardown(() => socket.close())
  return `127.0.0.1:${socket.address().port}`
}

for (const listener of ['batched', 'portable'] as const) {
  const skip = listener === 'batched' && typeof libc === 'string' ? libc : false
  t.test(`Resolver.open() with the ${listener} listener`, { skip }, async t => {
    t.test('answers names, aliases, both families and reverse names', async t => {
      const stub = stubOf(await open(t, { listener }))
      t.strictSame(await stub.resolve4('web'), ['10.0.1.5'])
      t.strictSame(await stub.resolve4('shop.net1'), ['10.0.1.5'])
      t.strictSame(await stub.resolve6('web'), ['fd00:1::5'])
      t.strictSame(await stub.reverse('10.0.1.6'), ['db.net1'])
      await t.rejects(stub.resolve6('db'), { code: 'ENODATA' })
      await t.rejects(stub.resolve4('nosuch.net1'), { code: 'ENOTFOUND' })
    })

    t.test('forwards other names, and says so', async t => {
      const resolver = await open(t, { listener, upstreams: [await openUpstream(t)] })
      t.strictSame(await stubOf(resolver).resolve4('test.example'), ['203.0.113.10'])
      t.match(resolver.status(), {
        listener,
        sandboxes: [{ id: 'local', queries: { answered: 0, forwarded: 1, dropped: 0 } }],
        upstreams: [{}],
        forwarding: { asked: 1 },
      })
    })

    t.test('listens on IPv6', async t => {
      const resolver = await open(t, { listener, address: '::1' })
      t.strictSame(await stubOf(resolver).resolve4('web'), ['10.0.1.5'])
    })
  })
}

t.test('update() and change() hold from the next query on', async t => {
  const resolver = await open(t)
  const stub = stubOf(resolver)
  resolver.change('net1', { endpoints: [{ id: 'db', name: 'db', addresses: ['10.0.1.7'] }] })
  t.strictSame(await stub.resolve4('db'), ['10.0.1.7'])
  resolver.update({ networks: [{ ...net1, endpoints: [] }] })
  await t.rejects(stub.resolve4('web.net1'), { code: 'ENOTFOUND' })
  resolver.update({ networks: [net1] })
  t.strictSame(await stub.resolve4('db'), ['10.0.1.6'])
  resolver.change('net1', { removedEndpoints: ['db'] })
  resolver.update({ upstreams: [] })
  await t.rejects(stub.resolve4('db.net1'), { code: 'ENOTFOUND' })
})

t.test('update() that throws changes nothing', async t => {
  const resolver = await open(t)
  t.throws(() => resolver.update({ networks: [], upstreams: ['nonsense'] }), {
    code: 'OPTION_BAD_UPSTREAM',
  })
  t.strictSame(await stubOf(resolver).resolve4('web'), ['10.0.1.5'])
  t.throws(() => resolver.change('other', {}), {
    code: 'OPTION_BAD_NETWORK',
    message: 'Cannot change network "other": the networks here are "net1"',
  })
})

t.test('Resolver.open() tells wrong options by code', async t => {
  const wrong: readonly (readonly [string, OpenOptions, string])[] = [
    ['a name for an address', { address: 'localhost' }, 'OPTION_BAD_ADDRESS'],
    ['a port over 65535', { port: 70_000 }, 'OPTION_BAD_PORT'],
    ['a fraction of a port', { port: 1.5 }, 'OPTION_BAD_PORT'],
    ['an upstream by name', { upstreams: ['dns.example'] }, 'OPTION_BAD_UPSTREAM'],
    ['an upstream port 0', { upstreams: ['127.0.0.1:0'] }, 'OPTION_BAD_UPSTREAM'],
    ['a bad subnet', { networks: [{ ...net1, subnets: ['10.0.1.0'] }] }, 'OPTION_BAD_NETWORK'],
    ['an address nobody has', { address: '192.0.2.1' }, 'LISTEN_NO_SUCH_ADDRESS'],
  ]
  for (const [what, options, code] of wrong) {
    await t.rejects(Resolver.open(options), { code }, what)
  }
})

t.test('Resolver.open() on a port in use rejects and leaves nothing open', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const place = server.address()
  const port = place !== null && typeof place === 'object' ? place.port : 0
  await t.rejects(Resolver.open({ port }), { code: 'LISTEN_ADDRESS_IN_USE' })
  await new Promise(resolve => server.close(resolve))
  // UDP had the port before TCP failed: it must be free again.
  const resolver = await Resolver.open({ port })
  t.equal(resolver.port, port)
  await resolver.close()
})

t.test('500 idle TCP connections keep nobody else from an answer', async t => {
  const resolver = await open(t)
  const idle = Array.from({ length: 500 }, () => new TcpClient(resolver.port))
  t.teardown(() => idle.forEach(client => client.close()))
  await until(() => idle.filter(client => client.isOver).length === 244, 'the cap of 256 to hold')
  const udp = new UdpClient(resolver)
  const tcp = new TcpClient(resolver.port)
  t.teardown(() => [udp.close(), tcp.close()])
  const query = composeQuery({ name: 'db', type: A, id: 7 })
  tcp.send(query)
  t.equal((await tcp.take(1))[0]?.readUInt16BE(0), 7)
  t.equal((await udp.ask(query)).readUInt16BE(0), 7)
})

t.test('explain() names the network and the record', async t => {
  const resolver = await open(t)
  t.match(resolver.explain('shop'), { outcome: 'answer', network: 'net1' })
  t.throws(() => resolver.explain('shop', 'NOSUCH'), { code: 'TYPE_UNKNOWN' })
})

t.test('close() frees the port; a closed resolver takes no sandboxes', async t => {
  const first = await Resolver.open({ networks: [net1] })
  await Promise.all([first.close(), first.close()])
  const second = await open(t, { port: first.port })
  t.equal(second.port, first.port)
})

t.test('sandboxes', { skip: typeof libc === 'string' ? libc : false }, async t => {
  if (typeof libc === 'string') return

  /** Descriptors as the daemon hands them in: here of the host's namespace. */
  const openFds = (address: string): { udpFd: number; tcpFd: number } => {
    const AF_INET = 2
    const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
    const tcpFd = libc.socket(AF_INET, SOCK_STREAM_CLOEXEC, 0)
    return { udpFd: openUdpSocket(libc, address, 0), tcpFd }
  }

  t.test('each answers from its own view until it is removed', async t => {
    const resolver = new Resolver()
    t.teardown(() => resolver.close())
    await resolver.addSandbox({ id: 'a', view: viewOf('10.0.1.3'), ...openFds('127.0.0.11') })
    await resolver.addSandbox({ id: 'b', view: viewOf('10.0.1.4'), ...openFds('127.0.0.12') })
    const [a, b] = resolver.status().sandboxes
    const clientA = new UdpClient({ address: '127.0.0.11', port: a?.udpPort ?? 0 })
    const clientB = new UdpClient({ address: '127.0.0.12', port: b?.udpPort ?? 0 })
    t.teardown(() => [clientA.close(), clientB.close()])
    const query = composeQuery({ name: 'c2', type: A })
    const ask = async (client: UdpClient): Promise<string | undefined> =>
      parseMessage(await client.ask(query)).answers[0]?.data
    t.equal(await ask(clientA), '10.0.1.3')
    t.equal(await ask(clientB), '10.0.1.4')
    resolver.setView('a', viewOf('10.0.1.9'))
    t.equal(await ask(clientA), '10.0.1.9')
    await resolver.removeSandbox('a')
    t.equal(await ask(clientB), '10.0.1.4')
    t.strictSame(
      resolver.status().sandboxes.map(sandbox => [sandbox.id, sandbox.queries.answered]),
      [['b', 2]],
    )
    t.throws(() => resolver.setView('a', viewOf()), { code: 'SANDBOX_UNKNOWN' })
    await resolver.removeSandbox('a')
  })

  t.test('udpBytes bounds the replies of a sandbox', async t => {
    const resolver = new Resolver()
    t.teardown(() => resolver.close())
    const view = viewOf()
    const udpBytes = 600
    await resolver.addSandbox({ id: 'a', view, udpBytes, ...openFds('127.0.0.11') })
    const port = resolver.status().sandboxes[0]?.udpPort ?? 0
    const client = new UdpClient({ address: '127.0.0.11', port })
    t.teardown(() => client.close())
    const edns = { udpSize: 4096 }
    const reply = await client.ask(composeQuery({ name: 'many', type: A, edns }))
    t.ok(reply.length <= 600 && parseMessage(reply).answers.length < 45)
  })

  t.test('an id that is there is refused, and its descriptors are closed', async t => {
    const resolver = new Resolver()
    await resolver.addSandbox({ id: 'a', view: viewOf(), ...openFds('127.0.0.11') })
    const fds = openFds('127.0.0.12')
    await t.rejects(resolver.addSandbox({ id: 'a', view: viewOf(), ...fds }), {
      code: 'SANDBOX_EXISTS',
    })
    t.notOk(libc.canPoll(fds.udpFd) || libc.canPoll(fds.tcpFd))
    await resolver.close()
    const late = openFds('127.0.0.12')
    await t.rejects(resolver.addSandbox({ id: 'a', view: viewOf(), ...late }), {
      code: 'RESOLVER_CLOSED',
    })
  })

  t.test('200 sandboxes come and go without leaving a descriptor', async t => {
    const { readdirSync } = await import('node:fs')
    const count = (): number => readdirSync('/proc/self/fd').length
    const resolver = new Resolver()
    await resolver.addSandbox({ id: 'first', view: viewOf(), ...openFds('127.0.0.11') })
    const before = count()
    const view = viewOf()
    const ids = Array.from({ length: 200 }, (_, i) => `s${i}`)
    await Promise.all(ids.map(id => resolver.addSandbox({ id, view, ...openFds('127.0.0.11') })))
    await Promise.all(ids.map(id => resolver.removeSandbox(id)))
    await until(() => count() <= before, 'the descriptors to close')
    t.equal(count(), before)
    await resolver.close()
  })
})
