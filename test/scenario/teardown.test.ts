/** What ends is out of DNS at once and leaves nothing; what is still needed stays. */

import { existsSync, readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { Asker } from './asker.js'
import { findFaults, findLastingFaults } from './truth.js'

/** Docker needs some 50 ms; a loaded machine is given as much. The usual is 2 ms. */
const outWithinMs = 50

const file = `
name: end
x-deploy: &dnsrr { endpoint_mode: dnsrr }
services:
  web: { command: [sleep, infinity], deploy: *dnsrr, scale: 4, networks: [front], stop_grace_period: 0s }
  slow:
    # Notes the signal, and asks who it is while it goes.
    command: [sh, -c, "trap 'getent hosts slow || echo gone; exit 3' TERM; while :; do sleep 0.02; done"]
    deploy: *dnsrr
    networks: [front]
  deaf:
    command: [sh, -c, "trap '' TERM; while :; do sleep 0.02; done"]
    networks: [front]
    stop_grace_period: 200ms
  probe: { command: [sleep, infinity], networks: [front], stop_grace_period: 0s }
networks: { front: {} }
`

async function up(host: Host): Promise<void> {
  await host.run('up', '-d', '-f', host.writeFile('end.yaml', file))
}

t.test('ends', asRoot, async t => {
  const host = await openHost(t)
  await up(host)
  const asker = Asker.open(await host.netnsOf('end-probe-1'))
  t.teardown(() => asker.close())

  await t.test('kill -9 of a replica takes its address out of DNS at once', async t => {
    const times: number[] = []
    for (const name of ['end-web-1', 'end-web-2', 'end-web-3']) {
      const { pid = 0, endpoints } = await host.container(name)
      const address = endpoints[0]?.ipv4?.split('/')[0] ?? ''
      await asker.until('web', ({ data }) => data.includes(address))
      const startedAt = performance.now()
      process.kill(pid, 'SIGKILL')
      const { at } = await asker.until('web', ({ data }) => !data.includes(address))
      times.push(at - startedAt)
    }
    t.comment(`out after ${times.map(ms => ms.toFixed(1)).join(', ')} ms`)
    t.ok(Math.min(...times) < outWithinMs, `within ${outWithinMs} ms of the signal`)
    t.match(await host.container('end-web-1'), { state: 'exited', exitCode: 137 })
    t.strictSame(await findLastingFaults(host), [], 'links and rules went too')
  })

  await t.test('stop takes the name out before the process hears of it', async t => {
    await host.run('stop', 'end-slow-1')
    t.equal(await host.run('logs', 'end-slow-1'), 'gone\n')
    t.match(await host.container('end-slow-1'), { state: 'exited', exitCode: 3 })
    t.equal((await asker.ask('end-slow-1'))?.data.length, 0)
  })

  await t.test('stop kills what is deaf to its signal when its grace period is over', async t => {
    const startedAt = performance.now()
    await host.run('stop', 'end-deaf-1')
    t.ok(performance.now() - startedAt >= 200, 'not before')
    t.match(await host.container('end-deaf-1'), { state: 'exited', exitCode: 137 })
  })

  await t.test('start brings it back under its name and address', async t => {
    const before = await host.container('end-web-4')
    await host.run('restart', 'end-web-4')
    const after = await host.container('end-web-4')
    t.strictSame(after.endpoints, before.endpoints)
    t.not(after.pid, before.pid)
    t.equal((await asker.ask('end-web-4'))?.data.length, 1)
    t.strictSame(await findFaults(host), [])
  })

  await t.test('down ends everything of the project', async t => {
    await host.run('network', 'create', 'other')
    await host.run('down', '-p', 'end')
    t.strictSame(await host.api.call('GET', '/v1/containers'), [])
    t.strictSame(readdirSync(host.paths.containers), [])
    t.strictSame(await findFaults(host), [])
    t.match(await host.run('network', 'ls'), /^other /m, 'networks of others stay')
    await host.run('network', 'rm', 'other')
  })

  await t.test('down of what is down says so', async t => {
    const { code, stderr } = await host.cli('down', '-p', 'end')
    t.equal(code, 1)
    t.match(stderr, /^portolan: There is no project "end"[^\n]*\n$/)
  })
})

t.test(
  'the daemon ends by SIGTERM; containers go on and the next daemon has them',
  asRoot,
  async t => {
    const host = await openHost(t)
    await up(host)
    const before = await host.container('end-web-1')
    await host.endDaemon('SIGTERM')
    t.notOk(existsSync(host.paths.socket), 'its socket went')
    t.doesNotThrow(() => process.kill(before.pid ?? 0, 0))
    const dead = 'end-web-2'
    await host.startDaemon()
    const { pid } = await host.container(dead)
    await host.endDaemon('SIGTERM')
    process.kill(pid ?? 0, 'SIGKILL')
    await host.startDaemon()
    t.strictSame(await host.container('end-web-1'), before)
    t.match(await host.container(dead), { state: 'exited' }, 'an end that nobody saw')
    t.strictSame(await findLastingFaults(host), [])
  },
)

t.test('a daemon that `up` started ends by itself after the last down', asRoot, async t => {
  const host = await openHost(t, { isDaemonStarted: false })
  await up(host)
  await host.run('down', '-p', 'end', '-t', '0')
  for (let i = 0; i < 200 && existsSync(host.paths.socket); i++) await delay(20)
  t.notOk(existsSync(host.paths.socket))
})
