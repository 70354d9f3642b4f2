/** A client belongs to one network namespace, and its counters to what passes there. */
import { readlinkSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { Ipvs, type Destination, type Service } from 'node-ipvs'
import t from 'tap'
import { runInNetns } from '../../../../src/kernel/netns.js'
import { openTcpListener } from '../../../../src/kernel/socket.js'
import { openClient, runThere, saveThere, until } from '../lab.js'

const current = (): string => readlinkSync('/proc/thread-self/ns/net')

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '127.0.0.5',
  port: 80,
  scheduler: 'rr',
}
const backend: Destination = {
  address: '127.0.0.1',
  port: 8080,
  weight: 1,
  forwarding: { kind: 'masquerade' },
}

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

t.test('two namespaces do not see each other, and home sees neither', async t => {
  const home = current()
  const [one, two] = [openClient(t), openClient(t)]
  t.equal(current(), home)
  one.ipvs.createService(web)
  two.ipvs.createService({ ...web, scheduler: 'lc' })
  one.ipvs.setTimeouts({ udpSeconds: 77 })
  t.equal(one.ipvs.getService(web).service.scheduler, 'rr')
  t.equal(two.ipvs.getService(web).service.scheduler, 'lc')
  t.equal(two.ipvs.getTimeouts().udpSeconds, 300)
  two.ipvs.flush()
  t.strictSame(saveThere(one.netns), ['-A -t 127.0.0.5:80 -s rr'])
  t.strictSame(saveThere(two.netns), [])
  const here = Ipvs.open()
  t.strictSame(here.listServices(), [])
  here.close()
})

t.test('open() inside a namespace stays there after the caller left', async t => {
  const { netns } = openClient(t)
  const ipvs = runInNetns(netns, () => Ipvs.open())
  t.teardown(() => ipvs.close())
  ipvs.createService(web)
  t.strictSame(saveThere(netns), ['-A -t 127.0.0.5:80 -s rr'])
})

t.test('open() takes the path of a namespace', async t => {
  const { ipvs, netns } = openClient(t)
  const home = current()
  const byPath = Ipvs.open({ netns: `/proc/self/fd/${netns.fd}` })
  t.teardown(() => byPath.close())
  t.equal(current(), home)
  ipvs.createService(web)
  t.equal(byPath.listServices().length, 1)
  t.throws(() => Ipvs.open({ netns: '/proc/self/cmdline' }), { code: 'EINVAL' })
  t.equal(current(), home, 'also where it fails')
})

t.test('counters tell connections, and zero() forgets them', async t => {
  const { ipvs, netns } = openClient(t)
  const place = { address: '127.0.0.1', port: 8080, backlog: 8 }
  const { fd } = runInNetns(netns, () => openTcpListener(place))
  const server = createServer(socket => socket.end('hello\n')).listen({ fd })
  await once(server, 'listening')
  t.teardown(() => server.close())
  ipvs.createService(web)
  ipvs.createDestination(web, backend)
  t.equal(ipvs.getService(web).stats.connections, 0n)

  const child = runInNetns(netns, () =>
    spawn('bash', ['-c', 'for i in 1 2 3; do cat < /dev/tcp/127.0.0.5/80 || exit 1; done'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  )
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  await once(child, 'close')
  t.equal(output, 'hello\nhello\nhello\n')

  // The kernel sums up its counters every two seconds.
  const isWhole = (): boolean => {
    const { connections, outgoingPackets } = ipvs.getService(web).stats
    return connections === 3n && outgoingPackets >= 12n
  }
  await until(isWhole, 'the counters of three connections')
  const { stats } = ipvs.getService(web)
  t.equal(stats.connections, 3n)
  t.ok(stats.incomingPackets >= 9n && stats.incomingBytes > 9n * 40n)
  t.ok(stats.outgoingPackets >= 6n && stats.outgoingBytes > stats.outgoingPackets * 40n)
  const [status] = ipvs.listDestinations(web)
  t.equal(status?.stats.connections, 3n)
  t.equal((status?.activeConnections ?? 0) + (status?.inactiveConnections ?? 0), 3)
  const words = runThere(netns, 'ipvsadm', '-Ln', '--stats', '--exact')
  t.match(words, new RegExp(`127.0.0.5:80 +3 +${stats.incomingPackets} +${stats.outgoingPackets} `))

  ipvs.zero(web)
  t.equal(ipvs.getService(web).stats.connections, 0n)
  t.equal(ipvs.listDestinations(web)[0]?.stats.incomingBytes, 0n)
  ipvs.zero()
})
