/** What somebody else does to the kernel's state, what is counted and told, and what is left at the end. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import t from 'tap'
import type { TraceReply } from '../../src/api/contract.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { clientAddress, hostAddress, joinOutside } from '../lab/outside-client.js'
import { bringUp, meshPort, replica, replicasOf, until, untilServing } from '../lab/replicas.js'
import { ask, Talk, tryTcp, type Route } from '../lab/traffic.js'

const composeFile = `
name: rep
services:
  web:
    scale: 2
    command: ${replica('http:80', 'echo:81')}
    ports: ['8080:80', '8081:81']
    networks: [front]
  box: { command: [sleep, infinity], networks: [front] }
networks: { front: { enable_ipv6: true } }
`

const churnFile = (ports: string): string => `
name: churn
services:
  a: { command: [sleep, infinity], scale: 0, ports: ['${ports}:80'], networks: [mesh] }
networks: { mesh: {} }
`

/** What the specification allows, and what a machine under load needs on top of it. */
const repairMs = 1_000 + 2_000

t.test('repair, counters and leaving', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  const before = kernelState(host.netns)
  await bringUp(host, 'rep', composeFile)
  await untilServing(host, 8080, 2)
  const scenario = byScenario(t)
  const to = (port: number): Route => ({ netns, address: hostAddress.v4, port })
  const isServed = async (): Promise<boolean> => (await tryTcp(to(8080), 300)) === 'connected'

  scenario([103], '`nft flush ruleset` on the host', async t => {
    const talk = await Talk.open(to(8081))
    const whole = rules(host.netns)
    run(host.netns, 'nft', 'flush', 'ruleset')
    const ms = await until('all rules are back', () => rules(host.netns) === whole)
    t.ok(ms < repairMs, `after ${Math.round(ms)} ms`)
    t.equal((await ask(to(8080))).address, clientAddress.v4)
    await talk.echo('an established connection lives')
    talk.close()
    await until('it is told', () => /Somebody changed \d+ of our rules/.test(host.daemonLog()))
  })

  scenario([44, 103], '`nft flush ruleset` in the sandbox of each replica', async t => {
    for (const { name } of await replicasOf(host, 'web')) {
      const inside = await host.netnsOf(name)
      const whole = rules(inside)
      run(inside, 'nft', 'flush', 'ruleset')
      const ms = await until('all rules are back', () => rules(inside) === whole)
      t.ok(ms < repairMs, `${name} after ${Math.round(ms)} ms`)
    }
    for (let i = 0; i < 10; i++) t.equal((await ask(to(8080))).address, clientAddress.v4)
  })

  scenario(
    [105],
    'elements that somebody took are put back, an alien table is not ours',
    async t => {
      run(
        host.netns,
        'nft',
        'add table inet alien; add chain inet alien c; add rule inet alien c accept',
      )
      const whole = rules(host.netns)
      const table = tableName(whole)
      run(host.netns, 'nft', `flush map inet ${table} slots4`)
      const ms = await until('the elements are back', () => rules(host.netns) === whole)
      t.ok(ms < repairMs, `after ${Math.round(ms)} ms`)
      t.ok(await isServed())
      run(host.netns, 'nft', `delete table inet ${table}`)
      await until('the table is back', () => rules(host.netns) === whole)
      t.match(rules(host.netns), /table inet alien/)
      run(host.netns, 'nft', 'delete table inet alien')
    },
  )

  scenario([116], 'a trace tells what the kernel does', async t => {
    const trace = await host.api.call<TraceReply>('GET', '/v1/mesh/trace?port=8080')
    const said = trace.hops.map(({ where, what }) => `${where}: ${what}`).join('\n')
    for (const { name } of await replicasOf(host, 'web')) t.match(said, name)
    t.match(said, /8080/)
    t.match(said, /port 80\b/)
    const printed = await host.run('mesh', 'trace', '8080')
    t.match(printed, /^A new connection to 8080\/tcp of this node, for rep\/web:\n1\. /)
  })

  scenario([117], 'connections and bytes of replicas add up to the client’s', async t => {
    const sums = async (): Promise<{ active: number; out: bigint }> => {
      const { replicas } = await meshPort(host, 8080)
      return {
        active: replicas.reduce((sum, one) => sum + one.activeConnections, 0),
        out: replicas.reduce((sum, one) => sum + BigInt(one.outBytes ?? 0), 0n),
      }
    }
    await until('nothing is open', async () => (await sums()).active === 0)
    const first = await sums()
    const talks = await Promise.all(Array.from({ length: 7 }, () => Talk.open(to(8081))))
    t.equal((await sums()).active, 7)
    const line = 'x'.repeat(1_000)
    for (const talk of talks) await talk.echo(line)
    const second = await sums()
    t.ok(second.out - first.out >= 7_000n, `${second.out - first.out} bytes`)
    talks.forEach(talk => talk.close())
    await until('nothing is open', async () => (await sums()).active === 0)
  })

  scenario(
    [78, 79],
    'a daemon that comes back rewrites nothing that is as it should be',
    async t => {
      const talk = await Talk.open(to(8081))
      await host.endDaemon('SIGKILL')
      const whole = rules(host.netns)
      const watch = runInNetns(host.netns, () => spawnMonitor())
      t.ok(await isServed(), 'while no daemon runs')
      await host.startDaemon()
      await until('it is ready', async () => (await meshPort(host, 8080)).replicas.length === 2)
      await talk.echo('the same connection')
      talk.close()
      t.equal(rules(host.netns), whole)
      const news = await watch.end()
      t.notMatch(news, /(add|delete) element .* slots/, 'nobody was put or taken away')
    },
  )

  scenario([79], 'a daemon that dies in a scale goes on with it', async t => {
    const scaling = host.cli('scale', '-p', 'rep', 'web=4')
    await until('it has begun', async () => (await replicasOf(host, 'web')).length === 4)
    await host.endDaemon('SIGKILL')
    await scaling
    t.ok(await isServed())
    await host.startDaemon()
    await untilServing(host, 8080, 4)
    await host.run('scale', '-p', 'rep', 'web=2')
    await untilServing(host, 8080, 2)
  })

  scenario([80], 'a second daemon is refused, and changes nothing', async t => {
    const whole = rules(host.netns)
    const second = await host.cli('daemon')
    t.equal(second.code, 1)
    t.match(second.stderr, /^portolan: [^\n]+\n$/)
    t.equal(rules(host.netns), whole)
    t.ok(await isServed())
  })

  scenario([86], 'services that come and go leave nothing', async t => {
    const cycle = async (port: number): Promise<void> => {
      await bringUp(host, 'churn', churnFile(String(port)))
      await host.run('down', '-p', 'churn')
    }
    await cycle(9000)
    const whole = rules(host.netns)
    const files = descriptors(host)
    for (let i = 1; i <= 6; i++) await cycle(9000 + i)
    t.equal(rules(host.netns), whole)
    // The API's connections come and go.
    t.ok(descriptors(host) <= files + 3, `${descriptors(host)} descriptors, ${files} before`)
  })

  scenario([120], 'nothing is left of it when all is down', async t => {
    await host.run('down', '-p', 'rep', '-t', '0')
    await host.api.call('POST', '/v1/networks/prune')
    t.equal(await tryTcp(to(8080)), 'ECONNREFUSED')
    await host.endDaemon()
    const after = kernelState(host.netns)
    t.strictSame(after.rules, before.rules)
    t.equal(after.routes, before.routes)
    t.equal(spawnPing(netns), 0, 'the host is reached')
    await host.startDaemon()
  })

  assertScenarios(t, 'repair', scenario.numbers)
})

/** Rules of policy routing and of the firewall, without what counts. */
function kernelState(netns: Netns): { readonly rules: string; readonly routes: string } {
  return { rules: rules(netns), routes: run(netns, 'ip', 'rule') + run(netns, 'ip', '-6', 'rule') }
}

/** The ruleset, in an order of its own, without counters and handles. */
function rules(netns: Netns): string {
  const text = run(netns, 'nft', '--stateless', 'list', 'ruleset')
  // Elements come in the order of a hash; tables in that of their making.
  return (
    text
      .split(/[\n,{}]/)
      .map(line => line.replace(/counter packets \d+ bytes \d+/, '').trim())
      // Chains that draw among N stay for the next service that has N replicas.
      .filter(line => line !== '' && !/^chain (random|hash)|numgen random mod|^jhash/.test(line))
      .sort()
      .join('\n')
  )
}

/** Ours for published ports. */
function tableName(text: string): string {
  return /table inet (portolan_mesh_\w+)/.exec(text)?.[1] ?? ''
}

function descriptors({ daemonPid = 0 }: Host): number {
  return readdirSync(`/proc/${daemonPid}/fd`).length
}

function run(netns: Netns, program: string, ...words: readonly string[]): string {
  const { status, stdout, stderr } = runInNetns(netns, () =>
    spawnSync(program, words, { encoding: 'utf8' }),
  )
  if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${stderr}`)
  return stdout
}

function spawnPing(netns: Netns): number | null {
  const words = ['-c', '1', '-W', '2', hostAddress.v4]
  return runInNetns(netns, () => spawnSync('ping', words, { stdio: 'ignore' })).status
}

/** nft(8) telling what changes in the namespace of the calling moment. */
function spawnMonitor(): { end(): Promise<string> } {
  const child = spawn('nft', ['monitor'], { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  return {
    end: async () => {
      const closed = once(child, 'close')
      child.kill('SIGTERM')
      await closed
      return text
    },
  }
}
