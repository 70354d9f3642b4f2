/**
 * Section E of the resolver's specification on a bridge network: services with a virtual address, and
 * `rr` by DNS round robin. Names of tasks are Compose's, `s-web-1` for `web.1.x`.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { ContainerView, ServiceView } from '../../src/api/contract.js'
import { ask, askUntil } from '../lab/ask.js'
import { assertCovers, byNumber } from '../lab/coverage.js'
import { asRoot, type Host } from '../lab/host.js'
import { formatSet } from '../lab/reply.js'
import { reverseName, runVectors, type Vector } from '../lab/vector.js'
import { openServices, upServices } from '../lab/world.js'

/** A task of rr. */
const T = 's-rr-1'

/** Addresses on ov1 of the containers of a service, as a table shows them. */
async function addressesOf(host: Host, ...services: readonly string[]): Promise<string> {
  const all = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
  const found = all
    .filter(({ service }) => services.includes(service ?? ''))
    .flatMap(({ endpoints }) => endpoints[0]?.ipv4?.split('/')[0] ?? [])
  return formatSet(found)
}

/** The virtual addresses on ov1 of services, as a table shows them. */
async function vipsOf(host: Host, ...services: readonly string[]): Promise<string> {
  const all = await host.api.call<readonly ServiceView[]>('GET', '/v1/services')
  const found = all
    .filter(({ name }) => services.includes(name))
    .flatMap(({ vips }) => vips.filter(({ network }) => network === 'ov1'))
    .flatMap(({ ipv4 }) => ipv4 ?? [])
  return formatSet(found)
}

t.test('E. Services', asRoot, async t => {
  const host = await openServices(t)
  const [web, rr, gate] = [
    await addressesOf(host, 'web'),
    await addressesOf(host, 'rr'),
    await addressesOf(host, 'gate'),
  ]
  const [webVip, zeroVip, gateVip, pubVip] = [
    await vipsOf(host, 'web'),
    await vipsOf(host, 'zero'),
    await vipsOf(host, 'gate'),
    await vipsOf(host, 'pub'),
  ]
  const [web1 = ''] = web.slice(1, -1).split(', ')
  const vectors: readonly Vector[] = [
    { n: 99, from: T, ask: `${reverseName(web1)} PTR`, expect: await ownerOf(host, web1) },
    { n: 100, from: T, ask: `${reverseName(webVip)} PTR`, expect: 'web.ov1.' },
    { n: 101, from: T, ask: 'web A', expect: webVip },
    { n: 102, from: T, ask: 'tasks.web A', expect: web },
    { n: 103, from: T, ask: 'webal A', expect: webVip },
    { n: 103, from: T, ask: 'tasks.webal A', expect: web },
    { n: 104, from: T, ask: 'WEB A', expect: webVip },
    { n: 104, from: T, ask: 'Tasks.Web A', expect: web },
    { n: 105, from: T, ask: 'web.ov1 A', expect: webVip },
    { n: 105, from: T, ask: 'tasks.web.ov1 A', expect: web },
    { n: 106, from: T, ask: 'rr A', expect: rr },
    { n: 106, from: T, ask: 'tasks.rr A', expect: rr },
    { n: 107, from: T, ask: 's-web-1 A', expect: await addressOf(host, 's-web-1') },
    { n: 107, from: T, ask: 's-web-1.ov1 A', expect: await addressOf(host, 's-web-1') },
    { n: 108, from: T, ask: 'web AAAA', expect: 'ND' },
    { n: 108, from: T, ask: 'tasks.web AAAA', expect: 'ND' },
    { n: 109, from: 'att', ask: 'web A', expect: webVip },
    { n: 109, from: T, ask: 'attal A', expect: '10.0.1.9' },
    { n: 110, from: 'c1', ask: 'web A', expect: 'FWD NXDOMAIN' },
    { n: 111, from: T, ask: 'zero A', expect: zeroVip },
    { n: 112, from: T, ask: 'tasks.zero A', expect: 'ND' },
    { n: 113, from: T, ask: 'gate A', expect: gateVip },
    { n: 113, from: T, ask: 'tasks.gate A', expect: 'ND' },
    { n: 113, from: T, ask: 's-gate-1 A', expect: 'ND' },
    { n: 118, from: 's-pub-1', ask: 'pub A', expect: pubVip },
    { n: 118, from: T, ask: 'tasks.pub A', expect: await addressOf(host, 's-pub-1') },
    { n: 119, from: T, ask: 'ov1-endpoint A', expect: 'FWD NXDOMAIN' },
    { n: 119, from: T, ask: 'lb-ov1 A', expect: 'FWD NXDOMAIN' },
    { n: 123, from: T, ask: '_http._udp.web SRV', expect: 'NXDOMAIN' },
    { n: 124, from: T, ask: '_http._tcp.web A', expect: 'ND' },
    { n: 125, from: T, ask: '_http._tcp.test.example SRV', expect: 'FWD NXDOMAIN' },
  ]
  const vector = byNumber(t)
  runVectors(t, host, vectors)

  vector([120, 121], 'SRV of a virtual address: the service, once', async t => {
    for (const port of ['_http', '_80']) {
      const { message } = await ask(host, T, `${port}._tcp.web SRV +bufsize=1232`)
      t.strictSame(
        message.answers.map(({ data }) => data),
        ['0 1 80 web.ov1.'],
        port,
      )
      t.strictSame(
        message.additionals.map(({ name, data }) => `${name} ${data}`),
        [`web.ov1. ${webVip}`],
      )
    }
  })

  vector([122], '_api._tcp.rr SRV: a record and an address for each task', async t => {
    const { message } = await ask(host, T, '_api._tcp.rr SRV +bufsize=1232')
    const names = [1, 2, 3].map(i => `s-rr-${i}.ov1.`)
    t.strictSame(
      message.answers.map(({ data }) => data).sort(),
      names.map(name => `0 1 9000 ${name}`),
    )
    t.strictSame(message.additionals.map(({ name }) => name).sort(), names)
    t.equal(formatSet(message.additionals.map(({ data }) => data)), rr)
  })

  vector([126], 'a service alias and a container alias that are equal: the union', async t => {
    await host.run('network', 'connect', '--alias', 'x', '--ip', '10.0.1.77', 'ov1', 'c1')
    const services = (await vipsOf(host, 'x1', 'x2')).slice(1, -1).split(', ')
    t.equal((await ask(host, T, 'x A')).text, formatSet([...services, '10.0.1.77']))
    await host.run('network', 'disconnect', 'ov1', 'c1')
    t.equal((await ask(host, T, 'x A')).text, formatSet(services))
  })

  vector([114], 'the first healthy check puts a task into DNS within 100 ms', async t => {
    writeFileSync(join(host.root, 'ready'), '')
    const deadline = performance.now() + 10_000
    while ((await host.container('s-gate-1')).health !== 'healthy') {
      if (performance.now() > deadline) throw new Error('It never became healthy')
      await delay(5)
    }
    for (const name of ['tasks.gate', 's-gate-1']) {
      const { text, ms } = await ask(host, T, `${name} A`)
      t.equal(text, gate, name)
      t.ok(ms < 100, `${ms} ms`)
    }
  })

  vector([115], 'a paused task stays', async t => {
    const { pid = 0 } = await host.container('s-gate-1')
    process.kill(pid, 'SIGSTOP')
    t.teardown(() => process.kill(pid, 'SIGCONT'))
    t.equal((await ask(host, T, 'tasks.gate A')).text, gate)
  })

  vector([116], 'tasks that stop are out of DNS before they hear of it', async t => {
    const hostnames = await Promise.all(
      ['s-rr-2', 's-rr-3'].map(async name => (await host.container(name)).id.slice(0, 12)),
    )
    const kept = await addressOf(host, T)
    await host.run('scale', 'rr=1')
    for (const hostname of hostnames) {
      const path = join(host.root, `asked-by-${hostname}`)
      t.ok(existsSync(path), 'it was told to stop')
      const said = readFileSync(path, 'utf8').trim().split('\n')
      t.notOk(said.includes(kept) && said.length > 1, `it saw ${said.join(' ')}`)
      t.strictSame(said, [kept])
    }
    t.equal((await ask(host, T, 'rr A')).text, kept)
    t.equal((await ask(host, T, 'tasks.rr A')).text, kept)
  })

  vector([117, 127], 'a removed service takes its names, not those others claim', async t => {
    const others = await vipsOf(host, 'x1')
    await upServices(host, text => removeServices(text, ['web', 'x2']))
    for (const name of ['web', 'tasks.web', 'webal', 'tasks.webal']) {
      t.equal((await ask(host, T, `${name} A`)).text, 'NXDOMAIN', name)
      t.ok(host.upstream.count(name) > 0, `${name} is nobody's now`)
    }
    const { text } = await askUntil(host, T, 'x A', 1_000, one => one.text === others)
    t.equal(text, others)
  })

  assertCovers(t, 'services', [...vectors.map(({ n }) => n), ...vector.numbers])
})

async function addressOf(host: Host, name: string): Promise<string> {
  return (await host.container(name)).endpoints[0]?.ipv4?.split('/')[0] ?? ''
}

/** The PTR of an address of `web`. */
async function ownerOf(host: Host, address: string): Promise<string> {
  return (await addressOf(host, 's-web-1')) === address ? 's-web-1.ov1.' : 's-web-2.ov1.'
}

/** The Compose file less some services: each begins at two spaces and ends at the next. */
function removeServices(text: string, names: readonly string[]): string {
  return names.reduce(
    (rest, name) => rest.replace(new RegExp(`^  ${name}:\n(?:    .*\n)+`, 'm'), ''),
    text,
  )
}
