/**
 * What does it cost to lead a published port to its replicas, beside what people use for it today? One
 * run, same replicas, same load, same machine. Needs root, iproute2, wrk and iperf3.
 *
 *     node dist/benchmarks/mesh.js [--quick] [--seconds=3] [--rounds=3] [--only=direct,nftables]
 *     node dist/benchmarks/mesh.js --machine [--swarm]   IPVS, in the tests' machine
 */

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { errorMessage } from '../src/base/error.js'
import { formatTable } from '../src/cli/table.js'
import { runInMachine } from '../test/lab/vm/index.js'
import { MeshLab } from './mesh-lab.js'
import { measure, type Figures } from './mesh-load.js'
import { peers, type Peer, type Way } from './mesh-peers.js'
import { provide } from './mesh-programs.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    machine: { type: 'boolean', default: false },
    // Said to the program in the machine, whose times meet no bound.
    emulated: { type: 'boolean', default: false },
    swarm: { type: 'boolean', default: false },
  },
})

const seconds = Number(options.seconds ?? (options.quick ? 1 : 3))
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3))
/** What this kernel runs, and what the machine's is for. */
const HERE = ['direct', 'dnat', 'nftables', 'userspace', 'haproxy', 'nginx', 'docker-proxy']
const IN_MACHINE = ['direct', 'nftables', 'ipvs', 'ipvsadm']
const MACHINE_TIMEOUT_MS = 900_000
const REPLICAS = 2

/** Two peers, and how much of the second's rate the first is to reach at least. */
interface Comparison {
  readonly peer: string
  readonly of: string
  readonly least: { readonly transfer?: number; readonly connections?: number }
}

const comparisons: readonly Comparison[] = [
  { peer: 'nftables', of: 'direct', least: { transfer: 0.95, connections: 0.85 } },
  { peer: 'nftables', of: 'dnat', least: {} },
  { peer: 'nftables', of: 'haproxy', least: { transfer: 1, connections: 1 } },
  { peer: 'nftables', of: 'nginx', least: {} },
  { peer: 'userspace', of: 'docker-proxy', least: { transfer: 1, connections: 1 } },
  { peer: 'userspace', of: 'haproxy', least: {} },
  { peer: 'ipvs', of: 'nftables', least: {} },
  { peer: 'ipvs', of: 'ipvsadm', least: {} },
  { peer: 'ipvs', of: 'swarm', least: {} },
]

if (process.getuid?.() !== 0) {
  console.error('Cannot make network namespaces: run this benchmark as root')
  process.exit(1)
}
if (options.machine) await runThere()
else await runHere()

async function runHere(): Promise<void> {
  provide([
    { program: 'wrk', packages: ['wrk'] },
    { program: 'iperf3', packages: ['iperf3'] },
  ])
  const wanted = (options.only?.split(',') ?? HERE).flatMap(
    name => peers.find(peer => peer.name === name) ?? [],
  )
  const all = new Map<string, Figures[]>()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  // Round by round, so that a noisy minute of the machine does not fall on one peer.
  for (let round = 0; round < rounds; round++) {
    for (const peer of wanted) {
      const figures = await measurePeer(peer)
      if (figures !== undefined) all.set(peer.name, [...(all.get(peer.name) ?? []), figures])
    }
  }
  const medians = new Map([...all].map(([name, list]) => [name, medianOf(list)]))
  console.log(`\n${formatFigures(medians)}\n\n${formatTargets(medians)}`)
  process.exit()
}

/** In a kernel that has IPVS, emulated: everything takes some ten times as long, so ratios tell. */
async function runThere(): Promise<void> {
  const only = options.only ?? [...IN_MACHINE, ...(options.swarm ? ['swarm'] : [])].join(',')
  const words = ['--emulated', `--seconds=${seconds}`, `--rounds=${rounds}`, `--only=${only}`]
  const { code } = await runInMachine({
    argv: [process.execPath, fileURLToPath(import.meta.url), ...words],
    timeoutMs: MACHINE_TIMEOUT_MS,
    onOutput: text => process.stdout.write(text),
  })
  process.exitCode = code ?? 1
}

/**
 * Undefined where the peer cannot be had here. In a lab of its own: a connection that another peer led
 * elsewhere would still be remembered by its ports, by sockets and by connection tracking.
 */
async function measurePeer(peer: Peer): Promise<Figures | undefined> {
  const { name, program, packages = [] } = peer
  const missing = program === undefined ? undefined : provide([{ program, packages }])
  if (missing !== undefined) {
    console.log(`${name}: left out, ${missing}`)
    return undefined
  }
  const lab = new MeshLab(REPLICAS)
  let way: Way | undefined
  const abandon = (): void => lab.abandon()
  process.once('exit', abandon)
  try {
    way = await peer.open(lab)
    const figures = await measure(lab, way, seconds)
    console.error(`${name}: ${Math.round(figures.connectionsPerSecond)} connections/s`)
    return figures
  } catch (error) {
    console.log(`${name}: left out, ${errorMessage(error)}\n${lab.said()}`)
    return undefined
  } finally {
    process.off('exit', abandon)
    await way?.close()
    await lab.close()
  }
}

/** Figure by figure. */
function medianOf(list: readonly Figures[]): Figures {
  const median = (figure: keyof Figures): number => {
    const sorted = list.map(one => one[figure]).sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  }
  return {
    connectionsPerSecond: median('connectionsPerSecond'),
    cpuPerConnection: median('cpuPerConnection'),
    proxyPerConnection: median('proxyPerConnection'),
    requestsPerSecond: median('requestsPerSecond'),
    p50: median('p50'),
    p99: median('p99'),
    gigabitsPerSecond: median('gigabitsPerSecond'),
    failures: Math.max(...list.map(one => one.failures)),
  }
}

function formatFigures(all: ReadonlyMap<string, Figures>): string {
  const direct = all.get('direct')
  const ratio = (figures: Figures, figure: keyof Figures): string =>
    direct === undefined ? '' : ` (${(figures[figure] / direct[figure]).toFixed(2)})`
  const added = (figures: Figures, figure: 'p50' | 'p99'): string =>
    direct === undefined || figures === direct
      ? `${figures[figure]} us`
      : `${figures[figure] - direct[figure] < 0 ? '' : '+'}${figures[figure] - direct[figure]} us`
  const rows = [...all].map(([name, figures]) => [
    name,
    `${figures.gigabitsPerSecond.toFixed(2)}${ratio(figures, 'gigabitsPerSecond')}`,
    `${Math.round(figures.connectionsPerSecond)}${ratio(figures, 'connectionsPerSecond')}`,
    `${Math.round(figures.requestsPerSecond)}${ratio(figures, 'requestsPerSecond')}`,
    added(figures, 'p50'),
    added(figures, 'p99'),
    `${figures.cpuPerConnection.toFixed(0)} us`,
    figures.proxyPerConnection === 0 ? '-' : `${figures.proxyPerConnection.toFixed(0)} us`,
    String(figures.failures),
  ])
  const heads = [
    'WAY',
    'GBIT/S',
    'CONN/S',
    'REQ/S',
    'P50',
    'P99',
    'CPU/CONN',
    'OF IT PROXY',
    'FAILED',
  ]
  return formatTable(heads, rows)
}

function formatTargets(all: ReadonlyMap<string, Figures>): string {
  const rows = comparisons.flatMap(({ peer, of, least }) => {
    const [own, other] = [all.get(peer), all.get(of)]
    if (own === undefined || other === undefined) return []
    const transfer = own.gigabitsPerSecond / other.gigabitsPerSecond
    const connections = own.connectionsPerSecond / other.connectionsPerSecond
    const cpu = own.cpuPerConnection / other.cpuPerConnection
    return [
      [`${peer} / ${of}, long transfer`, transfer.toFixed(2), verdict(transfer, least.transfer)],
      [`  new connections`, connections.toFixed(2), verdict(connections, least.connections)],
      [`  CPU of a new connection`, cpu.toFixed(2), ''],
    ]
  })
  return formatTable(['RATIO', 'IS', 'TARGET'], rows)
}

function verdict(ratio: number, least: number | undefined): string {
  if (least === undefined || options.emulated) return ''
  return `${ratio >= least ? 'reaches' : 'MISSES'} ${least.toFixed(2)}`
}
