/** Section F of the resolver's specification: what is not ours goes to upstreams. */

import { createSocket } from 'node:dgram'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { TYPE } from '../../resolver/rr.js'
import { composeQuery } from '../../resolver/wire/query.js'
import type { TextMessage } from '../../resolver/wire/message-text.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { openUdpSocket } from '../../src/kernel/socket.js'
import {
  a,
  denying,
  drops,
  failing,
  forging,
  oversized,
  RECORD,
  txt,
  withoutEdns,
  world,
  type Behaviour,
  type ReceivedQuery,
  type UpstreamFixture,
} from '../fixtures/upstream.js'
import { ask, askUntil, sendMany } from '../lab/ask.js'
import { assertCovers, byNumber } from '../lab/coverage.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { measureSlowness } from '../lab/pace.js'
import { runVectors, type Vector } from '../lab/vector.js'

/** Answers every TXT with its name and every A with U1's address. */
function answering(name: string): Behaviour {
  return ({ type }) => [
    { answers: type === RECORD.TXT ? [txt(name, 77)] : [a('203.0.113.10', 77)] },
  ]
}

/**
 * A container for each list of upstreams. They listen at 127.0.0.2, 127.0.0.3 ... of the container's
 * own loopback, since what `dns` names is asked from there; nobody listens where there is no behaviour.
 */
const lists: Readonly<Record<string, readonly (Behaviour | undefined)[]>> = {
  u2u1: [drops, answering('U1')],
  u9u1: [undefined, answering('U1')],
  u3u1: [failing, answering('U1')],
  u4u1: [denying, answering('U1')],
  u3: [failing],
  u2: [drops],
  u2u2u2: [drops, drops, drops],
  u5: [withoutEdns(world())],
  u6: [oversized(world())],
  u8: [answering('U1')],
  flood: [drops],
}

const container = { command: ['sleep', 'infinity'], stop_grace_period: '0s' }

function composeFile(): string {
  const listed = Object.entries(lists).map(([name, behaviours]) => [
    name,
    service(name, { dns: behaviours.map((_, i) => loopback(i)) }),
  ])
  return JSON.stringify({
    name: 'f',
    services: {
      plain: service('plain'),
      ...Object.fromEntries(listed),
      client: { ...container, networks: ['fwd'], scale: 10 },
      gateway: service('gateway', { dns: ['172.29.0.1'], networks: at('fwd', '172.29.0.200') }),
      own: service('own', { dns: ['127.0.0.1'] }),
      ourselves: service('ourselves', { dns: ['127.0.0.11'] }),
      ourselvesfirst: service('ourselvesfirst', { dns: ['127.0.0.11', loopback(0)] }),
      inner: service('inner', { networks: ['inside'] }),
      server: service('server', { networks: at('inside', '172.29.1.200') }),
      onnet: service('onnet', { dns: ['172.29.1.200'], networks: ['inside'] }),
      ndots1: service('ndots1', { dns_opt: ['ndots:1'] }),
      ndots0: service('ndots0', { dns_opt: ['ndots:0'] }),
    },
    networks: {
      fwd: { name: 'fwd', ipam: { config: [{ subnet: '172.29.0.0/24' }] } },
      inside: { name: 'inside', internal: true, ipam: { config: [{ subnet: '172.29.1.0/24' }] } },
    },
  })
}

function service(name: string, more: object = {}): object {
  return { ...container, container_name: name, networks: ['fwd'], ...more }
}

function at(network: string, address: string): object {
  return { [network]: { ipv4_address: address } }
}

function loopback(i: number): string {
  return `127.0.0.${i + 2}`
}

/** Opens the upstreams of `lists` where the containers ask them. */
async function openLists(host: Host): Promise<ReadonlyMap<string, readonly UpstreamFixture[]>> {
  const opened = new Map<string, UpstreamFixture[]>()
  for (const [name, behaviours] of Object.entries(lists)) {
    const netns = await host.netnsOf(name)
    const upstreams: UpstreamFixture[] = []
    for (const [i, behaviour] of behaviours.entries()) {
      if (behaviour === undefined) continue
      upstreams.push(await host.listen({ address: loopback(i), netns }, behaviour))
    }
    opened.set(name, upstreams)
  }
  return opened
}

const vectors: readonly Vector[] = [
  { n: 128, from: 'plain', ask: 'test.example A', expect: 'FWD 203.0.113.10', ttl: 77 },
  { n: 138, from: 'plain', ask: 'refused.example A', expect: 'FWD SERVFAIL' },
  { n: 151, from: 'inner', ask: 'test.example A', expect: 'SERVFAIL', withinMs: 50 },
  { n: 154, from: 'ndots1', ask: 'test A', expect: 'ND' },
  { n: 154, from: 'ndots1', ask: 'test.example A', expect: 'FWD 203.0.113.10' },
  { n: 155, from: 'ndots0', ask: 'test A', expect: 'FWD 203.0.113.10' },
]

t.test('F. Forwarding', asRoot, async t => {
  const host = await openHost(t)
  await host.run('up', '-d', '-f', host.writeFile('f.yaml', composeFile()))
  const upstreams = await openLists(host)
  const upstreamOf = (name: string, i = 0): UpstreamFixture => {
    const upstream = upstreams.get(name)?.[i]
    if (upstream === undefined) throw new Error(`There is no upstream ${i} of "${name}"`)
    return upstream
  }
  const vector = byNumber(t)
  runVectors(t, host, vectors)

  vector([129], 'the upstream sees RD=0 where the client says so', async t => {
    await host.flushDns()
    const { text } = await ask(host, 'plain', 'test.example A +norecurse')
    t.equal(text, '203.0.113.10')
    t.equal((host.upstream.received.at(-1)?.flags ?? 0) & 0x0100, 0)
  })

  vector([128], "the OPT of the reply has our size, AA is the upstream's", async t => {
    await host.flushDns()
    const { message } = await ask(host, 'plain', 'test.example A +bufsize=1400')
    t.not(message.edns?.udpSize, 0x0fa0, 'not that of U1')
    t.ok(message.flags & 0x0400, 'AA')
  })

  vector([130], 'a dead first upstream costs one hedge, then nothing', async t => {
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const { text, ms } = await ask(host, 'u2u1', `q${i}.who.example TXT`)
      t.equal(text, '"U1"')
      times.push(ms)
    }
    t.ok((times[0] ?? Infinity) < 700, `first: ${times[0]} ms`)
    t.ok(Math.max(...times.slice(2)) < 50, `from the third on: ${times.slice(2).join(', ')} ms`)
  })

  vector([131], 'a closed port is known at once', async t => {
    const { text, ms } = await ask(host, 'u9u1', 'who.example TXT')
    t.equal(text, '"U1"')
    t.ok(ms < 50, `${ms} ms`)
  })

  vector([132], 'SERVFAIL of the first one: the second is asked', async t => {
    t.equal((await ask(host, 'u3u1', 'who.example TXT')).text, '"U1"')
  })

  vector([133], 'NXDOMAIN is final: the second one is not asked', async t => {
    t.equal((await ask(host, 'u4u1', 'who.example TXT')).text, 'NXDOMAIN')
    t.equal(upstreamOf('u4u1', 1).received.length, 0)
  })

  vector([134], 'all say SERVFAIL: so do we, RA=1 and with the reason', async t => {
    const { text, message } = await ask(host, 'u3', 'who.example TXT +bufsize=1232')
    t.equal(text, 'SERVFAIL')
    t.match(message.edns?.options, /^EDE 2[23]/)
  })

  vector([135, 136], 'silence of one or of three: SERVFAIL between 1 and 4.5 s', async t => {
    const asked = ['u2', 'u2u2u2'].map(name => ask(host, name, 'who.example TXT'))
    for (const { text, ms } of await Promise.all(asked)) {
      t.equal(text, 'SERVFAIL')
      t.ok(ms > 1000 && ms <= 4550, `${ms} ms`)
    }
  })

  vector([139], 'an upstream that cannot read EDNS is asked again without', async t => {
    const { text } = await ask(host, 'u5', 'test.example A +bufsize=1232 +dnssec')
    t.equal(text, '203.0.113.10')
    const sizes = upstreamOf('u5').received.map(({ ednsSize }) => ednsSize)
    t.not(sizes[0], undefined, 'first with EDNS')
    t.equal(sizes.at(-1), undefined, 'last without')
  })

  vector([140], 'without EDNS by UDP: a partial set in 512 bytes and TC', async t => {
    const { message, bytes } = await ask(host, 'plain', 'many.example A')
    t.ok(message.flags & 0x0200, 'TC')
    t.ok(bytes.length <= 512, `${bytes.length} bytes`)
    t.ok(message.answers.length >= 25, `${message.answers.length} records`)
  })

  vector([141], 'with 1232 bytes: all of it', async t => {
    const { message, bytes } = await ask(host, 'plain', 'many.example A +bufsize=1232')
    t.equal(message.answers.length, 60)
    t.equal(message.flags & 0x0200, 0, 'TC')
    t.equal(bytes.length, 1001)
  })

  vector([142], 'by TCP: all of it', async t => {
    const { message } = await ask(host, 'plain', 'many.example A +tcp')
    t.equal(message.answers.length, 60)
  })

  vector([143], 'an upstream that ignores sizes: ours is kept all the same', async t => {
    const { message, bytes } = await ask(host, 'u6', 'many.example A')
    t.ok(bytes.length <= 512, `${bytes.length} bytes`)
    t.ok(message.flags & 0x0200, 'TC')
    t.equal((await ask(host, 'u6', 'many.example A +tcp')).message.answers.length, 60)
  })

  vector([144], 'a forged reply ahead of the real one is dropped', async t => {
    const upstream = upstreamOf('u8')
    for (const mangle of ['question', 'case', 'id'] as const) {
      upstream.behaviour = forging(answering('U1'), mangle, 60)
      const { text } = await ask(host, 'u8', `${mangle}.forged.example A`)
      t.equal(text, '203.0.113.10', `wrong ${mangle}`)
    }
    const netns = await host.netnsOf('u8')
    upstream.behaviour = query => {
      sendForged(netns, query)
      return answering('U1')(query).map(script => ({ ...script, delayMs: 60 }))
    }
    t.equal((await ask(host, 'u8', 'source.forged.example A')).text, '203.0.113.10', 'wrong source')
  })

  vector([145], '100 clients ask the same at once: one query goes out', async t => {
    await host.flushDns()
    const { behaviour } = host.upstream
    t.teardown(() => (host.upstream.behaviour = behaviour))
    host.upstream.behaviour = query => behaviour(query).map(script => ({ ...script, delayMs: 200 }))
    const before = host.upstream.count('test.example')
    const asked = Array.from({ length: 100 }, (_, i) =>
      ask(host, `f-client-${1 + (i % 10)}`, 'test.example A'),
    )
    const texts = new Set((await Promise.all(asked)).map(({ text }) => text))
    t.strictSame([...texts], ['203.0.113.10'])
    t.equal(host.upstream.count('test.example') - before, 1)
  })

  vector([148], "an upstream at the gateway hears from the container's own address", async t => {
    const upstream = await host.listen({ address: '172.29.0.1' })
    t.equal((await ask(host, 'gateway', 'test.example A')).text, '203.0.113.10')
    t.equal(upstream.received[0]?.peer, '172.29.0.200')
  })

  vector([149], "127.0.0.1 is the container's own loopback: SERVFAIL at once", async t => {
    const { text, ms } = await ask(host, 'own', 'test.example A')
    t.equal(text, 'SERVFAIL')
    t.ok(ms < 500, `${ms} ms`)
  })

  vector([150], '127.0.0.11 is us: no loop, and a second one is asked', async t => {
    const { text, ms } = await ask(host, 'ourselves', 'test.example A')
    t.equal(text, 'SERVFAIL')
    t.ok(ms < 500, `${ms} ms`)
    const netns = await host.netnsOf('ourselvesfirst')
    await host.listen({ address: loopback(0), netns })
    t.equal((await ask(host, 'ourselvesfirst', 'test.example A')).text, '203.0.113.10')
  })

  vector([152], 'an internal network with an upstream on it: that one answers', async t => {
    const netns = await host.netnsOf('server')
    const upstream = await host.listen({ address: '172.29.1.200', netns })
    t.equal((await ask(host, 'onnet', 'test.example A')).text, '203.0.113.10')
    t.equal(upstream.count('test.example'), 1)
  })

  vector([153], 'joining an external network opens the way out, leaving closes it', async t => {
    await host.run('network', 'connect', 'fwd', 'inner')
    t.equal((await ask(host, 'inner', 'test.example A')).text, '203.0.113.10')
    await host.run('network', 'disconnect', 'fwd', 'inner')
    await host.flushDns()
    const before = host.upstream.count('test.example')
    t.equal((await ask(host, 'inner', 'test.example A')).text, 'SERVFAIL')
    t.equal(host.upstream.count('test.example'), before, 'none goes out')
  })

  vector([156], '1100 questions to a dead upstream: the overflow hears SERVFAIL', async t => {
    const slownessBefore = await measureSlowness(host)
    const packets = Array.from({ length: 1100 }, (_, i) =>
      composeQuery({ name: `n${i}.drop.example`, type: TYPE.A, id: i }),
    )
    const many = await sendMany(await host.netnsOf('flood'), packets)
    t.teardown(() => many.close())
    const times: number[] = []
    for (let i = 0; i < 20; i++) {
      const { text, ms } = await ask(host, 'flood', 'plain A')
      t.match(text, /^172\.29\.0\./)
      times.push(ms)
    }
    const said = [...many.replies.values()]
    t.equal(said.length, 1100 - 1024, 'as many as are over the cap')
    t.ok(
      said.every(({ bytes }) => ((bytes[3] ?? 0) & 15) === 2),
      'SERVFAIL',
    )
    const slowness = Math.max(slownessBefore, await measureSlowness(host))
    const slowest = Math.max(...said.map(({ ms }) => ms))
    t.ok(slowest < 100 * slowness, `${slowest} ms, machine slower by ${slowness}`)
    const [median = Infinity] = times.sort((x, y) => x - y).slice(10)
    t.ok(median < 5 * slowness, `a local name meanwhile: ${median} ms`)
  })

  const live = await testHostFiles(t)
  const covered = [...vectors.map(({ n }) => n), ...vector.numbers, ...live]
  assertCovers(t, 'forwarding', covered)
})

/** Those that change the host's resolv.conf, on hosts of their own. */
async function testHostFiles(t: Test): Promise<readonly number[]> {
  const vector = byNumber(t)
  vector([137], 'no upstream at all: SERVFAIL at once', async t => {
    const host = await openHost(t, { resolvConf: '' })
    await upLone(host)
    const { text, ms } = await ask(host, 'lone', 'who.example TXT')
    t.equal(text, 'SERVFAIL')
    t.ok(ms < 50, `${ms} ms`)
  })

  vector([146], 'the second answer is from the cache, aged; a changed file ends that', async t => {
    const host = await openHost(t)
    await upLone(host)
    const other = await host.listen({ address: '127.0.0.22' })
    t.equal((await ask(host, 'lone', 'test.example A')).message.answers[0]?.ttl, 77)
    const ttlOf = ({ message }: { message: TextMessage }): number => message.answers[0]?.ttl ?? 77
    const aged = await askUntil(host, 'lone', 'test.example A', 2500, one => ttlOf(one) < 77)
    t.ok(ttlOf(aged) < 77 && ttlOf(aged) > 70, `TTL ${ttlOf(aged)}`)
    t.equal(host.upstream.count('test.example'), 1)
    writeFileSync(host.resolvConf, 'nameserver 127.0.0.22\n')
    await askUntil(host, 'lone', 'test.example A', 1000, () => other.count('test.example') > 0)
    t.equal(other.count('test.example'), 1)
  })

  vector([147], 'a host file changed in any way is followed within 1 s', async t => {
    const host = await openHost(t, { resolvConf: 'nameserver 127.0.0.21\n' })
    await upLone(host)
    const names = ['U21', 'U22', 'U23', 'U24', 'U25', 'U26']
    for (const [i, name] of names.entries()) {
      await host.listen({ address: `127.0.0.${21 + i}` }, world(name))
    }
    const follows = async (name: string, how: string): Promise<void> => {
      const isIt = ({ text }: { text: string }): boolean => text === `"${name}"`
      const { text } = await askUntil(host, 'lone', 'who.example TXT', 1000, isIt)
      t.equal(text, `"${name}"`, how)
    }
    await follows('U21', 'as it was')
    writeFileSync(host.resolvConf, 'nameserver 127.0.0.22\n')
    await follows('U22', 'in place')
    replaceFile(host.resolvConf, 'nameserver 127.0.0.23\n')
    await follows('U23', 'renamed over')
    replaceFile(host.resolvConf, 'nameserver 127.0.0.24\n')
    await follows('U24', 'renamed over again')
    const target = join(host.root, 'elsewhere', 'resolv.conf')
    mkdirSync(join(host.root, 'elsewhere'))
    writeFileSync(target, 'nameserver 127.0.0.25\n')
    symlinkSync(target, `${host.resolvConf}.new`)
    renameSync(`${host.resolvConf}.new`, host.resolvConf)
    await follows('U25', 'a symbolic link now')
    replaceFile(target, 'nameserver 127.0.0.26\n')
    await follows('U26', "the link's target renamed over")
  })
  return vector.numbers
}

async function upLone(host: Host): Promise<void> {
  const text = JSON.stringify({
    name: 'f',
    services: { lone: { ...container, container_name: 'lone' } },
  })
  await host.run('up', '-d', '-f', host.writeFile('f.yaml', text))
}

/** As package managers do: another file takes the name. */
function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

/** Right id, right question, from an address that was not asked. */
function sendForged(netns: Netns, { bytes, questionEnd, peer, peerPort }: ReceivedQuery): void {
  const { fd } = runInNetns(netns, () => openUdpSocket({ address: '127.0.0.66', port: 53 }))
  const socket = createSocket('udp4')
  socket.bind({ fd })
  const header = Buffer.from(bytes.subarray(0, 12))
  header.writeUInt16BE(0x8580, 2)
  header.writeUInt16BE(1, 6)
  header.writeUInt16BE(0, 10)
  const record = Buffer.from('c00c0001000100000258' + '0004c0000242', 'hex')
  const forged = Buffer.concat([header, bytes.subarray(12, questionEnd), record])
  socket.send(forged, peerPort, peer, () => socket.close())
}
