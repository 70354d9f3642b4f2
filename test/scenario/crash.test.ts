/**
 * The daemon dies by SIGKILL while 1,000 queries a second and an `up` or `scale` are under way. What
 * was there stays, what was acknowledged is there, the rest is done by asking again.
 */

import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ContainerView, NetworkView } from '../../src/api/contract.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { endProcesses, findProcesses } from '../lab/leftovers.js'
import { until } from '../lab/replicas.js'
import { Asker } from './asker.js'
import { findFaults } from './truth.js'

/** From the start of the next daemon to the first answer; a loaded machine takes its time. */
const adoptionMs = 5_000
const queriesPerSecond = 1_000
const tickMs = 10
/** What the moments below take for the start of a Node; on a slower machine they come later. */
const nodeMs = 150

interface Round {
  readonly name: string
  /** Arguments of the command under way. */
  readonly command: (host: Host) => readonly string[]
  /** Between the start of the command and SIGKILL, where a Node starts in `nodeMs`. */
  readonly killAfterMs: number
  /** Containers of service web and api once the command was repeated. */
  readonly web: number
  readonly api: number
}

const scale = (web: number, api: number) => () => [
  'scale',
  '-p',
  'crash',
  `web=${web}`,
  `api=${api}`,
]
const up = (web: number, api: number, argument: string) => (host: Host) => [
  ...['up', '-d', '-f', host.writeFile('crash.yaml', composeFile(web, api, argument))],
]

/** Moments spread over the command: it starts a Node, then works for some tenths of a second. */
const rounds: readonly Round[] = [
  { name: 'scale up, early', command: scale(8, 4), killAfterMs: 180, web: 8, api: 4 },
  {
    name: 'up with a changed service',
    command: up(8, 4, '7001'),
    killAfterMs: 260,
    web: 8,
    api: 4,
  },
  { name: 'scale up, late', command: scale(12, 5), killAfterMs: 400, web: 12, api: 5 },
  { name: 'scale down', command: scale(2, 1), killAfterMs: 300, web: 2, api: 1 },
  { name: 'up of more', command: up(6, 3, '7002'), killAfterMs: 700, web: 6, api: 3 },
]

t.test('SIGKILL of the daemon under load', asRoot, async t => {
  const host = await openHost(t)
  // An `up` that finds no daemon starts one of its own, so none may be killed before it asks.
  const lateMs = await measureLateness(host)
  await killDuringFirstUp(t, host, lateMs)
  const asker = Asker.open(await host.netnsOf('crash-probe-1'))
  t.teardown(() => asker.close())
  for (const [index, round] of rounds.entries()) {
    await t.test(round.name, async t => {
      const before = await untouchedPids(host)
      const load = new Load(asker, 'probe')
      t.teardown(() => load.stop())
      const command = host.cli(...round.command(host))
      await delay(round.killAfterMs + lateMs)
      await host.api.call('POST', '/v1/networks', { name: `acknowledged-${index}` })
      await host.endDaemon('SIGKILL')
      const ended = await command
      await endBackgroundDaemons(host)
      if (ended.code !== 0) t.match(ended.stderr, /^portolan: [^\n]+\n$/, 'one sentence')
      for (const [name, pid] of before) t.doesNotThrow(() => process.kill(pid, 0), `${name} runs`)

      const startedAt = performance.now()
      const starting = host.startDaemon()
      const { at } = await asker.until('probe', ({ data }) => data.length === 1, adoptionMs)
      t.comment(`names answer ${Math.round(at - startedAt)} ms after the start of the next daemon`)
      load.mark()
      await starting
      const networks = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
      t.ok(
        networks.some(({ name }) => name === `acknowledged-${index}`),
        'what was acknowledged is there',
      )
      const repeated = await host.cli(...round.command(host))
      t.equal(repeated.code, 0, repeated.stderr)
      t.match(await counts(host), { web: round.web, api: round.api, db: 2, probe: 1 })
      t.strictSame(await untouchedPids(host), before, 'the others are the same processes')
      t.strictSame(await findFaults(host), [])
      const { sent, failed } = await load.finish()
      t.ok(sent > 100, `${sent} queries after adoption`)
      t.equal(failed, 0, 'none of them failed')
    })
  }
  await host.run('network', 'prune')
  await host.run('down', '-p', 'crash', '-t', '0')
  t.strictSame(await findFaults(host), [])
  t.strictSame(await host.api.call('GET', '/v1/containers'), [])
})

/** How much longer than `nodeMs` a command of ours takes to start here, at the worst of some. */
async function measureLateness(host: Host): Promise<number> {
  let worst = nodeMs
  for (let i = 0; i < 4; i++) {
    const startedAt = performance.now()
    await host.run('--version')
    worst = Math.max(worst, performance.now() - startedAt)
  }
  return worst - nodeMs
}

async function killDuringFirstUp(t: Test, host: Host, lateMs: number): Promise<void> {
  const command = host.cli(...up(6, 3, '7000')(host))
  await delay(350 + lateMs)
  await host.endDaemon('SIGKILL')
  await command
  await endBackgroundDaemons(host)
  await host.startDaemon()
  await host.run(...up(6, 3, '7000')(host))
  t.strictSame(await findFaults(host), [], 'the first up, repeated')
}

/** Of an `up` that came too late to meet the one that was killed: killed as well. */
async function endBackgroundDaemons(host: Host): Promise<void> {
  const isDaemon = (pid: number): boolean =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--background')
  const pids = findProcesses(host.root).filter(isDaemon)
  endProcesses(pids)
  await until('the late daemons are gone', () => {
    const left = new Set(findProcesses(host.root))
    return !pids.some(pid => left.has(pid))
  })
}

/** Processes of services that no round changes. */
async function untouchedPids(host: Host): Promise<(readonly [string, number])[]> {
  const all = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
  return all
    .filter(({ service }) => service === 'db' || service === 'probe')
    .map(({ name, pid }) => [name, pid ?? 0] as const)
}

async function counts(host: Host): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const one of await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')) {
    if (one.state === 'running') found[one.service ?? ''] = (found[one.service ?? ''] ?? 0) + 1
  }
  return found
}

function composeFile(web: number, api: number, argument: string): string {
  return `
name: crash
services:
  probe: { command: [sleep, infinity], networks: [front] }
  web: { command: [sleep, '${argument}'], scale: ${web}, networks: [front], stop_grace_period: 0s }
  api: { command: [sleep, infinity], scale: ${api}, networks: [front, back], stop_grace_period: 0s }
  db: { command: [sleep, infinity], scale: 2, networks: { back: { aliases: [store] } } }
networks:
  front:
  back: { internal: true }
`
}

/** 1,000 queries a second until stopped; those after `mark()` count. */
class Load {
  readonly #timer: NodeJS.Timeout
  #isCounting = false
  #sent = 0
  #good = 0

  constructor(asker: Asker, name: string) {
    this.#timer = setInterval(() => {
      for (let i = 0; i < (queriesPerSecond * tickMs) / 1000; i++) this.#send(asker, name)
    }, tickMs)
  }

  mark(): void {
    this.#isCounting = true
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Stops, and waits for the last answers. */
  async finish(): Promise<{ readonly sent: number; readonly failed: number }> {
    this.stop()
    for (let i = 0; i < 100 && this.#good < this.#sent; i++) await delay(tickMs)
    return { sent: this.#sent, failed: this.#sent - this.#good }
  }

  #send(asker: Asker, name: string): void {
    const isCounted = this.#isCounting
    if (isCounted) this.#sent++
    asker.send(name, ({ data, rcode }) => {
      if (isCounted && rcode === 0 && data.length === 1) this.#good++
    })
  }
}
