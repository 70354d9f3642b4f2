/** Policies of a Compose file as they act: restart, health, dependencies, network modes, /etc files. */

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { ContainerView } from '../../src/api/contract.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { Asker } from './asker.js'
import { findLastingFaults } from './truth.js'

const withinMs = 10_000

/** The container once it suits; throws where it never does. */
async function containerThat(
  host: Host,
  name: string,
  isWanted: (container: ContainerView) => boolean,
): Promise<ContainerView> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const all = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
    const container = all.find(one => one.name === name)
    if (container !== undefined && isWanted(container)) return container
    if (performance.now() > deadline) throw new Error(JSON.stringify(container))
    await delay(10)
  }
}

t.test('restart policies', asRoot, async t => {
  const host = await openHost(t)
  const file = `
name: again
services:
  probe: { command: [sleep, infinity] }
  always: { command: [sleep, infinity], deploy: { endpoint_mode: dnsrr }, restart: always }
  never: { command: [sh, -c, 'exit 4'] }
  twice: { command: [sh, -c, 'exit 5'], restart: 'on-failure:2' }
  well: { command: ['true'], restart: on-failure }
`
  await host.run('up', '-d', '-f', host.writeFile('again.yaml', file))
  const asker = Asker.open(await host.netnsOf('again-probe-1'))
  t.teardown(() => asker.close())

  await t.test('always: back after a kill, in DNS again', async t => {
    const { pid = 0 } = await host.container('again-always-1')
    process.kill(pid, 'SIGKILL')
    await asker.until('always', ({ data }) => data.length === 0)
    await asker.until('always', ({ data }) => data.length === 1)
    const after = await host.container('again-always-1')
    t.match(after, { state: 'running', restartCount: 1 })
    t.not(after.pid, pid)
  })
  await t.test('always: not after a stop on request', async t => {
    await host.run('stop', '-t', '0', 'again-always-1')
    await delay(300)
    t.equal((await host.container('again-always-1')).state, 'exited')
    await host.run('start', 'again-always-1')
    t.equal((await host.container('again-always-1')).state, 'running')
  })
  await t.test('no: stays, with its exit code', async t => {
    const { exitCode, restartCount } = await containerThat(
      host,
      'again-never-1',
      ({ state }) => state === 'exited',
    )
    t.strictSame([exitCode, restartCount], [4, 0])
  })
  await t.test('on-failure: as often as it may', async t => {
    const { exitCode, restartCount } = await containerThat(
      host,
      'again-twice-1',
      ({ state }) => state === 'exited',
    )
    t.strictSame([exitCode, restartCount], [5, 2])
  })
  await t.test('on-failure: not where it ended well', async t => {
    const { exitCode, restartCount } = await containerThat(
      host,
      'again-well-1',
      ({ state }) => state === 'exited',
    )
    t.strictSame([exitCode, restartCount], [0, 0])
  })
  t.strictSame(await findLastingFaults(host), [])
})

t.test('health and dependencies', asRoot, async t => {
  const host = await openHost(t)
  const ready = `${host.root}/ready`
  const file = `
name: wait
services:
  probe: { command: [sleep, infinity] }
  late:
    command: [sleep, infinity]
    deploy: { endpoint_mode: dnsrr }
    healthcheck: { test: [CMD, test, -e, ${ready}], interval: 50ms, timeout: 5s, retries: 200 }
  job: { command: [sh, -c, 'sleep 0.1; echo done'] }
  after:
    command: [sleep, infinity]
    depends_on:
      late: { condition: service_healthy }
      job: { condition: service_completed_successfully }
`
  const up = host.run('up', '-d', '-f', host.writeFile('wait.yaml', file))
  await containerThat(host, 'wait-late-1', ({ state }) => state === 'running')
  await containerThat(host, 'wait-probe-1', ({ state }) => state === 'running')
  const asker = Asker.open(await host.netnsOf('wait-probe-1'))
  t.teardown(() => asker.close())
  t.strictSame((await asker.ask('late'))?.data, [], 'no address before the first healthy')
  t.equal((await asker.ask('late'))?.rcode, 0, 'and yet a name')
  t.equal((await host.container('wait-after-1')).state, 'created', 'who depends on it waits')
  host.writeFile('ready', '')
  await up
  t.match(await host.container('wait-late-1'), { health: 'healthy' })
  t.equal((await host.container('wait-after-1')).state, 'running')
  t.equal((await asker.ask('late'))?.data.length, 1)
  t.equal(await host.run('logs', 'wait-job-1'), 'done\n')

  await t.test('a dependency that fails is told, and nobody is started on it', async t => {
    const broken = `
name: broken
services:
  job: { command: [sh, -c, 'exit 9'] }
  after:
    command: [sleep, infinity]
    depends_on: { job: { condition: service_completed_successfully } }
`
    const path = host.writeFile('broken.yaml', broken)
    const { code, stderr } = await host.cli('up', '-d', '-f', path)
    t.equal(code, 1)
    t.match(stderr, /^portolan: [^\n]*"after"[^\n]*"job"[^\n]*9\n$/)
    t.equal((await host.container('broken-after-1')).state, 'created')
  })
})

t.test('network modes', asRoot, async t => {
  const host = await openHost(t)
  const file = `
name: mode
services:
  owner: { command: [sleep, infinity], networks: [front] }
  joined: { command: [sleep, infinity], network_mode: 'service:owner' }
  named: { command: [sleep, infinity], network_mode: 'container:mode-owner-1', depends_on: [owner] }
  alone: { command: [sleep, infinity], network_mode: none }
  open: { command: [sleep, infinity], network_mode: host }
  probe:
    command: [sleep, infinity]
    networks: [front]
    extra_hosts: ['gate=host-gateway', 'fixed=192.0.2.7']
networks: { front: {} }
`
  const path = host.writeFile('mode.yaml', file)
  const first = await host.cli('up', '-d', '-f', path)
  t.equal(first.code, 0, first.stderr)
  const netns = async (name: string): Promise<string> => (await host.netnsOf(name)).id
  t.equal(await netns('mode-joined-1'), await netns('mode-owner-1'))
  t.equal(await netns('mode-named-1'), await netns('mode-owner-1'))
  t.equal(await netns('mode-open-1'), host.netns.id)
  t.not(await netns('mode-alone-1'), host.netns.id)
  t.equal(await host.run('exec', 'mode-alone-1', 'ls', '/sys/class/net'), 'lo\n')
  const hosts = await host.run('exec', 'mode-probe-1', 'cat', '/etc/hosts')
  const gateway = await host.run('exec', 'mode-probe-1', 'ip', 'route', 'show', 'default')
  t.match(hosts, `${gateway.split(' ')[2]}\tgate\n`)
  t.match(hosts, '192.0.2.7\tfixed\n')
  const [owner] = (await host.container('mode-owner-1')).endpoints
  const asker = Asker.open(await host.netnsOf('mode-probe-1'))
  t.teardown(() => asker.close())
  t.strictSame(
    (await asker.ask('mode-joined-1'))?.data,
    [owner?.ipv4?.split('/')[0]],
    'a joiner answers at its owner’s address',
  )
  const inside = await host.run('exec', 'mode-joined-1', 'getent', 'ahostsv4', 'probe')
  t.match(inside, /^\d/, 'and resolves there')
})

t.test('links on the default bridge are lines of /etc/hosts', asRoot, async t => {
  const host = await openHost(t)
  const file = `
name: old
services:
  db: { command: [sleep, infinity], network_mode: bridge, hostname: dbhost }
  web: { command: [sleep, infinity], network_mode: bridge, links: ['db:store'] }
`
  const { code, stderr } = await host.cli('up', '-d', '-f', host.writeFile('old.yaml', file))
  t.equal(code, 0, stderr)
  const [endpoint] = (await host.container('old-db-1')).endpoints
  const address = endpoint?.ipv4?.split('/')[0] ?? 'none'
  const hosts = await host.run('exec', 'old-web-1', 'cat', '/etc/hosts')
  t.match(hosts, `${address}\tstore dbhost old-db-1\n`)
  t.notMatch(await host.run('exec', 'old-web-1', 'cat', '/etc/resolv.conf'), '127.0.0.11')
})
