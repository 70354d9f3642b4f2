/**
 * 500 containers on 20 networks: time to up and down, the daemon's memory, and how long after a change
 * a neighbour hears the new answer. Needs root; everything lives in a namespace of its own.
 */

import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { Catalog } from '../src/catalog/catalog.js'
import type { Change } from '../src/catalog/change.js'
import { Names } from '../src/daemon/names.js'
import { container, endpoint, network, running } from '../test/catalog/records.js'
import { Host } from '../test/lab/host.js'
import { Asker } from '../test/scenario/asker.js'
import { formatTable } from '../src/cli/table.js'

interface Size {
  readonly networks: number
  /** Of the one service of each network. */
  readonly replicas: number
  /** How often each change is measured. */
  readonly rounds: number
}

/** From the request or the kill to the first new answer, 99 of 100. */
const boundMs = 5

const isQuick = process.argv.includes('--quick')
const size: Size = isQuick
  ? { networks: 5, replicas: 10, rounds: 20 }
  : { networks: 20, replicas: 25, rounds: 200 }

const rows: string[][] = []

function report(what: string, value: string): void {
  rows.push([what, value])
  process.stderr.write(`${what}: ${value}\n`)
}

async function main(): Promise<void> {
  const host = new Host({ isDaemonStarted: false })
  await host.open()
  try {
    await host.startDaemon()
    const file = host.writeFile('scale.yaml', composeFile(size))
    await measureUp(host, file)
    await measureChanges(host)
    measureInside()
    await measureDown(host)
  } catch (error) {
    process.stderr.write(`${String(error)}\n${host.daemonLog()}\n`)
    throw error
  } finally {
    // Throws where anything was left.
    await host.close()
  }
  process.stdout.write(`${formatTable(['MEASURED', 'VALUE'], rows)}\n`)
}

function composeFile({ networks, replicas }: Size): string {
  const each = Array.from({ length: networks }, (_, index) => index + 1)
  const services = each.map(
    n => `  s${n}: { command: [sleep, infinity], scale: ${replicas}, networks: [n${n}] }`,
  )
  return `name: big\nservices:\n${services.join('\n')}\nnetworks:\n${each.map(n => `  n${n}:`).join('\n')}\n`
}

async function measureUp(host: Host, file: string): Promise<void> {
  const idle = memoryOf(host.daemonPid)
  const first = await timed(() => host.run('up', '-d', '-f', file))
  const containers = size.networks * size.replicas
  report(`up of ${containers} containers, ${size.networks} networks`, seconds(first))
  report(
    'up again, nothing to change',
    seconds(await timed(() => host.run('up', '-d', '-f', file))),
  )
  report('resident memory of the daemon', `${memoryOf(host.daemonPid)} MB (idle ${idle} MB)`)
  // What was on its way when `up` returned.
  await new Promise(resolve => setTimeout(resolve, 1_000))
  const before = cpuMs(host.daemonPid)
  await new Promise(resolve => setTimeout(resolve, 5_000))
  report('CPU while nothing happens', `${((cpuMs(host.daemonPid) - before) / 50).toFixed(1)} %`)
}

async function measureChanges(host: Host): Promise<void> {
  report(`changes: from request or kill to the answer`, 'p50, p99, worst')
  await host.api.call('POST', '/v1/networks', { name: 'side' })
  const joined = await host.container('big-s1-1')
  await host.api.call('POST', '/v1/networks/side/connect', { container: joined.name })
  const asker = Asker.open(await host.netnsOf(joined.name))
  try {
    await measureKills(host, asker)
    await measureRenames(host, asker)
    await measureConnects(host, asker)
    await measureScale(host, asker)
  } finally {
    asker.close()
  }
  await host.api.call('POST', '/v1/networks/side/disconnect', { container: joined.name })
}

/** SIGKILL of a replica's command; its address leaves the service's set. */
async function measureKills(host: Host, asker: Asker): Promise<void> {
  const samples: number[] = []
  for (let round = 0; round < size.rounds; round++) {
    const name = `big-s1-${2 + (round % (size.replicas - 1))}`
    const { pid, endpoints } = await host.container(name)
    const address = endpoints[0]?.ipv4?.split('/')[0] ?? ''
    if (pid === undefined) throw new Error(`"${name}" does not run`)
    await asker.until('tasks.s1', ({ data }) => data.includes(address))
    const startedAt = performance.now()
    process.kill(pid, 'SIGKILL')
    const { at } = await asker.until('tasks.s1', ({ data }) => !data.includes(address))
    samples.push(at - startedAt)
    await host.api.call('POST', `/v1/containers/${name}/start`)
  }
  reportSamples('kill -9 of a replica: its address is out', samples)
}

async function measureRenames(host: Host, asker: Asker): Promise<void> {
  const samples: number[] = []
  let name = 'big-s1-2'
  for (let round = 0; round < size.rounds; round++) {
    const next = round % 2 === 0 ? 'another' : 'big-s1-2'
    const startedAt = performance.now()
    const done = host.api.call('POST', `/v1/containers/${name}/rename`, { name: next })
    const { at } = await asker.until(next, ({ data }) => data.length === 1)
    samples.push(at - startedAt)
    await done
    name = next
  }
  if (name !== 'big-s1-2') throw new Error('An even number of rounds puts the name back')
  reportSamples('rename: the new name answers', samples)
}

async function measureConnects(host: Host, asker: Asker): Promise<void> {
  const [joins, leaves]: [number[], number[]] = [[], []]
  const container = 'big-s2-1'
  for (let round = 0; round < size.rounds; round++) {
    const startedAt = performance.now()
    const joined = host.api.call('POST', '/v1/networks/side/connect', { container })
    const { at } = await asker.until(container, ({ data }) => data.length === 1)
    joins.push(at - startedAt)
    await joined
    const leftAt = performance.now()
    const left = host.api.call('POST', '/v1/networks/side/disconnect', { container })
    const gone = await asker.until(container, ({ data }) => data.length === 0)
    leaves.push(gone.at - leftAt)
    await left
  }
  reportSamples('connect: the link is there and the name answers', joins, true)
  reportSamples('disconnect: the name is gone', leaves)
}

/** One replica more: with addresses, links and a process, so no change of names alone. */
async function measureScale(host: Host, asker: Asker): Promise<void> {
  const samples: number[] = []
  const scale = (replicas: number): Promise<void> =>
    host.api.stream(
      'POST',
      '/v1/projects/big/scale',
      { replicas: { s1: replicas } },
      () => undefined,
    )
  for (let round = 0; round < Math.ceil(size.rounds / 10); round++) {
    const startedAt = performance.now()
    const more = scale(size.replicas + 1)
    const name = `big-s1-${size.replicas + 1}`
    const { at } = await asker.until(name, ({ data }) => data.length === 1)
    samples.push(at - startedAt)
    await more
    await host.api.call('POST', `/v1/containers/${name}/stop?timeout=0`)
    await scale(size.replicas)
  }
  reportSamples('scale by one: the replica is made, started and answers', samples, true)
}

/**
 * What is between a change and its answer in the daemon itself: from the catalog's swap until every
 * view that it concerns is swapped, as the next query finds it. No HTTP, no disk, no kernel.
 */
function measureInside(): void {
  const networks = Array.from({ length: size.networks }, (_, n) => network(`n${n}`, n))
  const members = networks.flatMap(on =>
    Array.from({ length: size.replicas }, (_, i) => {
      const name = `big-${on.name}-${i + 1}`
      return container(name, { endpoints: [endpoint(name, on, i + 2)] })
    }),
  )
  const catalog = new Catalog()
  const names = new Names({ setView: () => undefined })
  catalog.subscribe((snapshot, delta, previous) => names.update(snapshot, delta, previous))
  catalog.apply([
    ...networks.map((one): Change => ({ op: 'put-network', network: one })),
    ...members.map((one): Change => ({ op: 'put-container', container: one })),
    ...members.map((one): Change => ({ op: 'put-status', status: running(one) })),
  ])
  for (const one of members) {
    names.setOutlook(catalog.snapshot, one, { policy: { upstreams: [] } })
  }
  const samples = Array.from({ length: 10 * size.rounds }, (_, round) => {
    const one = members[round % members.length]
    if (one === undefined) return 0
    const state = round % (2 * members.length) < members.length ? 'exited' : 'running'
    const startedAt = performance.now()
    catalog.apply([{ op: 'put-status', status: running(one, { state }) }])
    return performance.now() - startedAt
  })
  reportSamples('in the daemon, from the change to the swapped answers', samples)
}

async function measureDown(host: Host): Promise<void> {
  const down = await timed(() => host.run('down', '-p', 'big', '-t', '0'))
  report('down', seconds(down))
  report('resident memory after down', `${memoryOf(host.daemonPid)} MB`)
}

/** `hasLinks`: links or a process are made too, which the bound on names does not cover. */
function reportSamples(what: string, samples: readonly number[], hasLinks = false): void {
  const sorted = [...samples].sort((a, b) => a - b)
  const at = (part: number): number => sorted[Math.ceil(part * sorted.length) - 1] ?? NaN
  const isWithin = hasLinks || at(0.99) < boundMs
  const verdict = isWithin ? '' : ` (bound ${boundMs} ms)`
  const values = [at(0.5), at(0.99), at(1)].map(ms => `${ms.toFixed(1)} ms`)
  report(`  ${what}`, `${values.join(', ')}${verdict}`)
}

async function timed(body: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await body()
  return performance.now() - startedAt
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

/** VmRSS in megabytes. */
function memoryOf(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? NaN) / 1000)
}

/** User and system time; USER_HZ is 100 on every Linux that runs Node. */
function cpuMs(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

await main()
