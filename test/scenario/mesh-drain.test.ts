/** Replicas that leave, fall ill, freeze or die, and what their clients notice. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { ContainerView } from '../../src/api/contract.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { LoopClient } from '../lab/http-client.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { hostAddress, joinOutside } from '../lab/outside-client.js'
import {
  bringUp,
  hostName,
  meshPort,
  replica,
  replicasOf,
  until,
  untilServing,
} from '../lab/replicas.js'
import { ask, codeOf, Datagrams, request, Talk, tryTcp, type Route } from '../lab/traffic.js'

const composeFile = (root: string): string => `
name: drn
x-probed: &probed
  portolan.probe: http://:80/health
  portolan.probe.interval: 100ms
  portolan.probe.timeout: 500ms
  portolan.probe.fall: '2'
  portolan.drain: 30s
services:
  web:
    scale: 3
    command: ${replica('http:80', 'echo:81', 'udp:82', `log:${root}/stops`)}
    ports: ['8080:80', '8081:81', '8082:82/udp']
    labels: *probed
    stop_grace_period: 20s
    restart: always
    networks: [front]
  strict:
    command: ${replica('http:80')}
    ports: ['8180:80']
    labels: { <<: *probed, portolan.panic: 'off' }
    networks: [front]
  eager:
    scale: 2
    command: ${replica('http:80', 'echo:81', `log:${root}/stops`)}
    ports: ['8280:80', '8281:81']
    labels: { portolan.drain: 20s, portolan.drain.signal: first }
    stop_grace_period: 20s
    networks: [front]
networks: { front: {} }
`

t.test('draining, health and death', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  await bringUp(host, 'drn', composeFile(host.root))
  for (const [port, count] of [
    [8080, 3],
    [8180, 1],
    [8280, 2],
  ] as const) {
    await untilServing(host, port, count)
  }
  const scenario = byScenario(t)
  const to = (port: number, more: Partial<Route> = {}): Route => ({
    netns,
    address: hostAddress.v4,
    port,
    ...more,
  })

  /** A connection to just this replica. */
  async function talkTo(container: ContainerView, port = 8081): Promise<Talk> {
    for (let i = 0; i < 200; i++) {
      const talk = await Talk.open(to(port))
      if (talk.seen.host === hostName(container)) return talk
      talk.close()
    }
    throw new Error(`${container.name} gets no connection`)
  }

  scenario([54], 'a replica that drains gets nothing new, and everything again', async t => {
    const [first] = await replicasOf(host, 'web')
    if (first === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(first)
    const draining = host.run('drain', first.name)
    await until('it drains', async () => (await stateOf(host, 8080, first.name)) === 'draining')
    t.notOk((await hostsOf(60)).has(hostName(first)), 'nothing new')
    await talk.echo('what is established goes on')
    await host.run('drain', '--undo', first.name)
    await draining
    t.ok((await hostsOf(60)).has(hostName(first)), 'and back')
    await talk.echo('still')
    talk.close()
  })

  scenario([53], 'at the deadline the client is told, and the command says how many', async t => {
    const [first] = await replicasOf(host, 'web')
    if (first === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(first)
    const startedAt = performance.now()
    const said = await host.run('drain', '--timeout', '2', first.name)
    const ms = performance.now() - startedAt
    t.equal(await talk.over, 'ECONNRESET')
    t.ok(ms >= 2_000 && ms < 6_000, `${Math.round(ms)} ms`)
    t.match(said, /1 connection reset/)
    await host.run('drain', '--undo', first.name)
    await untilServing(host, 8080, 3)
  })

  scenario([52], 'what is under way ends before its replica is told to stop', async t => {
    await host.run('scale', 'web=4')
    await untilServing(host, 8080, 4)
    const [, , , last] = await replicasOf(host, 'web')
    if (last === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(last)
    // So many that the fourth replica has some.
    const downloads = Array.from({ length: 16 }, () =>
      request(to(8080), { path: '/bytes/400000/2000', timeoutMs: 30_000 }),
    )
    const settled = Promise.all(downloads)
    const scaling = host.run('scale', 'web=3')
    await until('it gets nothing new', async () => !(await serving(host, 8080)).includes(last.name))
    const lengths = (await settled).map(({ length }) => length)
    t.strictSame([...new Set(lengths)], [400_000], 'every download is whole')
    await talk.echo('still there')
    t.equal(stopTime(host, hostName(last), 'SIGTERM'), 0, 'not told to stop yet')
    talk.close()
    await scaling
    t.ok(stopTime(host, hostName(last), 'SIGTERM') > 0, 'told then')
  })

  scenario([52], 'with signal-first it is told at once, and ends when it is done', async t => {
    const [, second] = await replicasOf(host, 'eager')
    if (second === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(second, 8281)
    const scaling = host.run('scale', 'eager=1')
    await until('it is told', () => stopTime(host, hostName(second), 'SIGTERM') > 0)
    for (let i = 0; i < 20; i++) await talk.echo(`line ${i}`)
    t.equal(stopTime(host, hostName(second), 'done'), 0)
    talk.close()
    await scaling
    t.ok(stopTime(host, hostName(second), 'done') > 0)
  })

  scenario([55], 'a daemon that is restarted goes on with a drain', async t => {
    const [first] = await replicasOf(host, 'web')
    if (first === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(first)
    const draining = host.cli('drain', '--timeout', '12', first.name)
    await until('it drains', async () => (await stateOf(host, 8080, first.name)) === 'draining')
    const startedAt = performance.now()
    await host.endDaemon('SIGKILL')
    await draining
    await talk.echo('established')
    t.notOk((await hostsOf(30)).has(hostName(first)), 'nothing new while no daemon runs')
    await host.startDaemon()
    t.equal(await stateOf(host, 8080, first.name), 'draining')
    t.notOk((await hostsOf(30)).has(hostName(first)), 'nothing new after its restart')
    t.equal(await talk.over, 'ECONNRESET', 'the deadline holds')
    const ms = performance.now() - startedAt
    t.ok(ms > 11_000 && ms < 25_000, `${Math.round(ms)} ms`)
    await host.run('drain', '--undo', first.name)
    await untilServing(host, 8080, 3)
  })

  scenario([59], 'readiness that flaps resets no connection', async t => {
    const [first] = await replicasOf(host, 'web')
    if (first === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(first)
    const load = new LoopClient(t, to(8080))
    const changes = await countChanges(host, first.name, async () => {
      for (let i = 0; i < 30; i++) {
        process.kill(first.pid ?? 0, 'SIGUSR2')
        await talk.echo(`flap ${i}`)
        await delay(100)
      }
    })
    t.ok(changes <= 4, `${changes} changes in 3 s`)
    const { failures } = await load.finish()
    t.strictSame(failures, {})
    talk.close()
    await untilServing(host, 8080, 3)
  })

  scenario([57], 'a frozen replica is left out, and comes back', async t => {
    const [first] = await replicasOf(host, 'web')
    const pid = first?.pid ?? 0
    process.kill(pid, 'SIGSTOP')
    t.teardown(() => process.kill(pid, 'SIGCONT'))
    const ms = await until(
      'it is left out',
      async () => (await serving(host, 8080)).length === 2,
      20_000,
    )
    // Two probes of 500 ms, 100 ms apart; the rest is for a loaded machine.
    t.ok(ms < 5_000, `${Math.round(ms)} ms`)
    t.strictSame((await hostsOf(20)).size, 2)
    process.kill(pid, 'SIGCONT')
    await untilServing(host, 8080, 3)
  })

  scenario([60], 'all unready: those that serve serve, or nobody where panic is off', async t => {
    const all = await replicasOf(host, 'web')
    const [strict] = await replicasOf(host, 'strict')
    for (const { pid } of [...all, ...(strict ? [strict] : [])]) process.kill(pid ?? 0, 'SIGUSR2')
    await until('the strict one refuses', async () => (await tryTcp(to(8180))) === 'ECONNREFUSED')
    await until('all are unready', async () => {
      const { replicas } = await meshPort(host, 8080)
      return replicas.every(one => one.state === 'unready')
    })
    t.equal((await serving(host, 8080)).length, 3)
    t.equal((await hostsOf(40)).size, 3, 'every one still serves')
    const { replicas } = await meshPort(host, 8080)
    t.match(replicas[0]?.reason, /503.*serves since none is ready/)
    for (const { pid } of [...all, ...(strict ? [strict] : [])]) process.kill(pid ?? 0, 'SIGUSR2')
    await untilServing(host, 8080, 3)
    await untilServing(host, 8180, 1)
    t.equal((await ask(to(8180))).target, 80)
  })

  scenario([62, 63], 'a UDP flow moves at once when its replica drains', async t => {
    const flow = await Datagrams.open(to(8082))
    t.teardown(() => flow.close())
    const first = await flow.ask('one')
    if (typeof first === 'string') throw new Error(first)
    const all = await replicasOf(host, 'web')
    const home = all.find(one => hostName(one) === first.host)
    if (home === undefined) throw new Error('A replica is missing')
    t.match(await flow.ask('two'), { host: first.host }, 'it stays while nothing changes')
    await host.run('drain', home.name)
    const moved = await flow.ask('three')
    if (typeof moved === 'string') throw new Error(moved)
    t.not(moved.host, first.host)
    t.equal(moved.port, first.port, 'from the same client port')
    t.match(await flow.ask('four'), { host: moved.host }, 'and stays there')
    await host.run('drain', '--undo', home.name)
    await untilServing(host, 8080, 3)
  })

  scenario([56], 'a killed replica: its clients are told, nobody else notices', async t => {
    const [first] = await replicasOf(host, 'web')
    if (first === undefined) throw new Error('A replica is missing')
    const talk = await talkTo(first)
    const load = new LoopClient(t, to(8080))
    await load.answers(30)
    process.kill(first.pid ?? 0, 'SIGKILL')
    const killedAt = performance.now()
    t.match(await talk.over, /ECONNRESET|end/)
    const ms = performance.now() - killedAt
    t.ok(ms < 3_000, `told after ${Math.round(ms)} ms`)
    await load.answers(50)
    const { failures, answered } = await load.finish()
    const failed = Object.values(failures).reduce((sum, n) => sum + n, 0)
    // Those that were under way to it, and those of the moment until the node knew.
    t.ok(failed <= 20, `${failed} of ${answered + failed} failed: ${JSON.stringify(failures)}`)
    const again = new LoopClient(t, to(8080))
    await again.answers(50)
    t.strictSame((await again.finish()).failures, {}, 'none fails afterwards')
    await untilServing(host, 8080, 3)
  })

  scenario(
    [58],
    'the last replica dies in the middle of a download: its client does not hang',
    async t => {
      const [, second] = await replicasOf(host, 'eager')
      t.equal(second, undefined, 'one is left')
      const [only] = await replicasOf(host, 'eager')
      const download = request(to(8280), { path: '/bytes/4000000/20000', timeoutMs: 40_000 }).then(
        ({ length }) => String(length),
        codeOf,
      )
      await until('it has the download', async () => {
        const port = await meshPort(host, 8280)
        return (port.replicas[0]?.activeConnections ?? 0) > 0
      })
      const { pid = 0 } = only ?? {}
      process.kill(pid, 'SIGKILL')
      t.match(await download, /ECONNRESET|CUT|^\d+$/)
      t.equal(await tryTcp(to(8280)), 'ECONNREFUSED')
    },
  )

  scenario([118], 'why a replica gets nothing is told', async t => {
    const { replicas } = await meshPort(host, 8280)
    t.strictSame(
      replicas.map(one => one.state),
      ['exited'],
    )
    const [first] = await replicasOf(host, 'web')
    await host.run('drain', first?.name ?? '')
    const said = await host.run('mesh', 'ls')
    t.match(said, /drn-web-1 +1 +draining/)
    t.match(said, /drn-eager-1 +1 +exited/)
    await host.run('drain', '--undo', first?.name ?? '')
  })

  assertScenarios(t, 'drain', scenario.numbers)

  /** Who answers `count` connections, one after the other. */
  async function hostsOf(count: number): Promise<ReadonlySet<string>> {
    const hosts = new Set<string>()
    for (let i = 0; i < count; i++) hosts.add((await ask(to(8080))).host)
    return hosts
  }
})

async function serving(host: Host, port: number): Promise<readonly string[]> {
  const { replicas } = await meshPort(host, port)
  return replicas.filter(one => one.isServing).map(({ name }) => name)
}

async function stateOf(host: Host, port: number, name: string): Promise<string | undefined> {
  return (await meshPort(host, port)).replicas.find(one => one.name === name)?.state
}

/** How often the replica's readiness changed while `body` ran, as its looks every 20 ms see it. */
async function countChanges(host: Host, name: string, body: () => Promise<void>): Promise<number> {
  let changes = 0
  let last: boolean | undefined
  const watch = async (): Promise<void> => {
    const { isReady } = await host.container(name)
    if (last !== undefined && isReady !== last) changes++
    last = isReady
  }
  const timer = setInterval(() => void watch(), 20)
  try {
    await body()
  } finally {
    clearInterval(timer)
  }
  return changes
}

/** When a replica wrote that, by its log. */
function stopTime(host: Host, name: string, what: string): number {
  const path = join(host.root, 'stops')
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : []
  const line = lines.find(one => one.startsWith(`${name} ${what} `))
  return Number(line?.split(' ')[2] ?? 0)
}
