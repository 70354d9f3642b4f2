/**
 * What does one DNS answer cost, beside the servers people use today? One run, same names, same
 * load, same machine. Needs root, dnsperf, iproute2; a peer that is not installed is left out.
 *
 *     node dist/benchmarks/dns.js [--quick] [--only=portolan,dnsmasq]
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DnsLab, SERVER_ADDRESS, cpuMicroseconds, kill } from './dns-lab.js'
import { peers, readPid, upstreamCommand } from './dns-peers.js'
import type { Peer } from './dns-peers.js'

interface Case {
  readonly name: string
  readonly names: number
  readonly isForwarded: boolean
}

/** Figures of one server in one case. */
interface Figures {
  readonly answersPerSecond: number
  readonly cpuPerAnswer: number
  /** At a tenth of what local servers bear, so that queues say nothing about the server. */
  readonly latencyMs: { readonly average: number; readonly p50: number; readonly p99: number }
  readonly lost: number
}

const isQuick = process.argv.includes('--quick')
const only = process.argv.find(arg => arg.startsWith('--only='))?.slice('--only='.length)

const ROUNDS = isQuick ? 1 : 3
const WARM_SECONDS = isQuick ? 1 : 2
const LOAD_SECONDS = isQuick ? 2 : 4
const SAMPLE_SECONDS = isQuick ? 1 : 2
const SAMPLE_RATE = 5000
/** Queries on the way: enough to keep a local server busy; what the forward figures of others use. */
const LOCAL_OUTSTANDING = 100
const FORWARD_OUTSTANDING = 16
const UNIQUE_NAMES = 500_000

const cases: readonly Case[] = [
  { name: 'local, 10 names', names: 10, isForwarded: false },
  { name: 'local, 10,000 names', names: 10_000, isForwarded: false },
  { name: 'forwarded, unique names', names: 10, isForwarded: true },
]

if (process.getuid?.() !== 0) {
  console.error('Cannot make network namespaces: run this benchmark as root')
  process.exit(1)
}
const directory = mkdtempSync(join(tmpdir(), 'dns-bench-'))
const lab = new DnsLab()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
process.once('exit', () => {
  lab.close()
  rmSync(directory, { recursive: true, force: true })
})
await main()

async function main(): Promise<void> {
  lab.startClient(upstreamCommand)
  const all = new Map<string, Figures>()
  for (const benchCase of cases) {
    const queries = writeQueries(benchCase)
    const rounds = new Map<string, Figures[]>()
    // Round by round, so that a noisy minute of the machine does not fall on one server.
    for (let round = 0; round < ROUNDS; round++) {
      for (const peer of chosenPeers(benchCase)) {
        const figures = await measure(peer, benchCase, queries)
        if (figures === undefined) continue
        rounds.set(peer.name, [...(rounds.get(peer.name) ?? []), figures])
      }
    }
    console.log(`\n${benchCase.name}`)
    for (const [name, list] of rounds) {
      const figures = medianOf(list)
      all.set(`${name} ${benchCase.name}`, figures)
      console.log(formatFigures(name, figures))
    }
  }
  printRatios(all)
  process.exit()
}

function chosenPeers(benchCase: Case): readonly Peer[] {
  const chosen = peers.filter(peer => only === undefined || only.split(',').includes(peer.name))
  return chosen.filter(peer => peer.canForward || !benchCase.isForwarded)
}

function writeQueries({ names, isForwarded }: Case): string {
  const file = join(directory, `queries-${isForwarded ? 'forwarded' : names}`)
  const count = isForwarded ? UNIQUE_NAMES : names
  const line = (i: number): string => (isForwarded ? `u${i}.bench.example A\n` : `c${i} A\n`)
  writeFileSync(file, Array.from({ length: count }, (_, i) => line(i)).join(''))
  return file
}

/** Undefined where the server cannot be started here. */
async function measure(peer: Peer, benchCase: Case, queries: string): Promise<Figures | undefined> {
  const workspace = mkdtempSync(join(directory, 'peer-'))
  const { command, pidFile } = peer.prepare(workspace, benchCase.names)
  const child = lab.startServer(command)
  let pid = child.pid ?? Number.NaN
  try {
    if (!(await isAnswering(queries))) {
      console.log(`${peer.name}: left out, it does not answer here`)
      return undefined
    }
    if (pidFile !== undefined) pid = readPid(pidFile)
    const outstanding = benchCase.isForwarded ? FORWARD_OUTSTANDING : LOCAL_OUTSTANDING
    perf(queries, ['-l', String(WARM_SECONDS), '-q', String(outstanding)])
    const before = cpuMicroseconds(pid)
    const load = perf(queries, ['-l', String(LOAD_SECONDS), '-q', String(outstanding)])
    const cpu = cpuMicroseconds(pid) - before
    const sample = ['-l', String(SAMPLE_SECONDS), '-Q', String(SAMPLE_RATE), '-v']
    return figuresOf(load, cpu, latenciesOf(perf(queries, sample)))
  } finally {
    kill(pidFile === undefined ? pid : readPid(pidFile))
    await hasEnded(child, pidFile !== undefined)
  }
}

function perf(queries: string, options: readonly string[]): string {
  const fixed = ['-s', SERVER_ADDRESS, '-d', queries, '-c', '4', '-T', '1']
  return lab.runClient(['dnsperf', ...fixed, ...options])
}

async function isAnswering(queries: string): Promise<boolean> {
  for (let tries = 0; tries < 40; tries++) {
    await new Promise(resolve => setTimeout(resolve, 100))
    const output = perf(queries, ['-n', '1', '-l', '1', '-Q', '10', '-t', '0.2'])
    if (numberAfter(output, 'Queries completed:') > 0) return true
  }
  return false
}

function figuresOf(load: string, cpu: number, latencies: readonly number[]): Figures {
  const answers = numberAfter(load, 'Queries completed:')
  const sum = latencies.reduce((total, latency) => total + latency, 0)
  return {
    answersPerSecond: numberAfter(load, 'Queries per second:'),
    cpuPerAnswer: cpu / answers,
    latencyMs: {
      average: sum / latencies.length,
      p50: latencies[Math.floor(latencies.length * 0.5)] ?? Number.NaN,
      p99: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
    },
    lost: numberAfter(load, 'Queries lost:'),
  }
}

/** Milliseconds, sorted, out of dnsperf's line for each query: `> NOERROR c0. A 0.000123`. */
function latenciesOf(output: string): readonly number[] {
  const latencies: number[] = []
  for (const match of output.matchAll(/^> \S+ .* (\d+\.\d+)$/gm)) {
    latencies.push(Number(match[1]) * 1000)
  }
  return latencies.sort((a, b) => a - b)
}

function numberAfter(output: string, label: string): number {
  const rest = output.slice(output.indexOf(label) + label.length)
  return Number.parseFloat(rest)
}

/** The figures of the round with the median CPU time. */
function medianOf(list: readonly Figures[]): Figures {
  const sorted = [...list].sort((a, b) => a.cpuPerAnswer - b.cpuPerAnswer)
  const median = sorted[Math.floor(sorted.length / 2)]
  if (median === undefined) throw new Error('no round was measured')
  return median
}

function formatFigures(name: string, { answersPerSecond, cpuPerAnswer, ...rest }: Figures): string {
  const { average, p50, p99 } = rest.latencyMs
  return [
    name.padEnd(16),
    `${Math.round(answersPerSecond).toLocaleString('en').padStart(9)}/s`,
    `${cpuPerAnswer.toFixed(2).padStart(7)} us CPU an answer`,
    `latency avg ${average.toFixed(3)} p50 ${p50.toFixed(3)} p99 ${p99.toFixed(3)} ms`,
    rest.lost > 0 ? `lost ${rest.lost}` : '',
  ].join('  ')
}

function printRatios(all: ReadonlyMap<string, Figures>): void {
  const cpu = (peer: string, index: number): number => {
    return all.get(`${peer} ${cases[index]?.name}`)?.cpuPerAnswer ?? Number.NaN
  }
  const rows: readonly (readonly [string, number, number])[] = [
    ['portolan / bare dgram, CPU, 10 names', cpu('portolan', 0) / cpu('bare-dgram', 0), 1],
    ['portolan / dnsmasq, CPU, 10 names', cpu('portolan', 0) / cpu('dnsmasq', 0), 1.1],
    ['portolan / unbound, CPU, 10 names', cpu('portolan', 0) / cpu('unbound', 0), Infinity],
    [
      'portolan / aardvark-dns, CPU, 10 names',
      cpu('portolan', 0) / cpu('aardvark-dns', 0),
      Infinity,
    ],
    ['portolan, 10,000 names / 10 names, CPU', cpu('portolan', 1) / cpu('portolan', 0), 1.1],
    // The bare responder holds no names: its ratio is what the longer list costs the machine.
    [
      'the same, over that of bare dgram',
      cpu('portolan', 1) / cpu('portolan', 0) / (cpu('bare-dgram', 1) / cpu('bare-dgram', 0)),
      1.1,
    ],
    ['portolan, us CPU a forwarded answer', cpu('portolan', 2), 40],
  ]
  console.log('')
  for (const [label, value, bound] of rows) {
    if (Number.isNaN(value)) continue
    const verdict = bound === Infinity ? '' : value <= bound ? `within ${bound}` : `over ${bound}`
    console.log(`${label.padEnd(44)} ${value.toFixed(2).padStart(6)}  ${verdict}`)
  }
}

/** Waits until the port is free again; a daemon is not our child, so its end is not told. */
async function hasEnded(
  child: ReturnType<DnsLab['startServer']>,
  isDaemon: boolean,
): Promise<void> {
  if (isDaemon) return await new Promise(resolve => setTimeout(resolve, 100))
  if (child.exitCode !== null || child.signalCode !== null) return
  await new Promise(resolve => child.once('exit', resolve))
}
