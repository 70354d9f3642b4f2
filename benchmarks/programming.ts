/**
 * How long does the kernel's programming of a change take among many services? The load of all, one
 * replica more or less, one service more or less, and what another process finds when it takes over; the
 * layout of a chain for each service beside it. Needs root; everything is in a namespace of its own.
 *
 *     node dist/benchmarks/programming.js [--quick] [--sizes=100,1000,10000] [--changes=200]
 *     node dist/benchmarks/programming.js --machine   IPVS, in the tests' machine
 */

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { formatTable } from '../src/cli/table.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../src/kernel/netns.js'
import { addAddress, createBridge, getLink, updateLink } from '../src/kernel/rtnetlink.js'
import { stateOf } from '../mesh/mesh.js'
import { runInMachine } from '../test/lab/vm/index.js'
import { PLACE } from '../test/lab/mesh-host.js'
import { subjects, type Subject } from './programming-subjects.js'
import { readMemory } from './programming-memory.js'
import type { VirtualService } from '../mesh/state.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    sizes: { type: 'string' },
    changes: { type: 'string' },
    only: { type: 'string' },
    machine: { type: 'boolean', default: false },
    // Said to the program in the machine, whose times meet no bound.
    emulated: { type: 'boolean', default: false },
  },
})

const REPLICAS = 10
/** What takes longer than one would wait is measured up to here. */
const MOST_OF_PEER = 1_000
/** Of 100 changes, 99, whatever the number of services. */
const BOUND_MS = 10
/** A prime: changes visit services all over. */
const STRIDE = 7_919
const MACHINE_TIMEOUT_MS = 900_000

const sizes = (options.sizes ?? (options.quick ? '100,1000' : '100,1000,10000'))
  .split(',')
  .map(Number)
const changes = Number(options.changes ?? (options.quick ? 40 : 200))

if (process.getuid?.() !== 0) {
  console.error('Cannot make network namespaces: run this benchmark as root')
  process.exit(1)
}
if (options.machine) await runThere()
else await runHere()

interface Figures {
  readonly subject: string
  readonly services: number
  /** Milliseconds, as all below. */
  readonly load: number
  readonly replica: readonly number[]
  /** CPU time of this process for one replica, the kernel's share included. */
  readonly replicaCpu: readonly number[]
  readonly addition: readonly number[]
  readonly removal: readonly number[]
  /** Undefined where nobody takes over. */
  readonly adoption: number | undefined
  readonly processMegabytes: number
  readonly kernelMegabytes: number
}

async function runHere(): Promise<void> {
  const wanted = (options.only ?? 'nftables,chains').split(',')
  const all: Figures[] = []
  for (const services of sizes) {
    for (const subject of subjects) {
      if (!wanted.includes(subject.name)) continue
      if (subject.isPeer && services > MOST_OF_PEER) continue
      all.push(await measure(subject, services))
      console.error(`${subject.name}, ${services} services: done`)
    }
  }
  console.log(`\n${formatFigures(all)}\n\n${formatRatios(all)}`)
}

async function runThere(): Promise<void> {
  const words = [
    '--emulated',
    `--sizes=${options.sizes ?? '100,1000'}`,
    `--changes=${options.changes ?? 40}`,
    `--only=${options.only ?? 'ipvs,nftables'}`,
  ]
  const { code } = await runInMachine({
    argv: [process.execPath, fileURLToPath(import.meta.url), ...words],
    timeoutMs: MACHINE_TIMEOUT_MS,
    onOutput: text => process.stdout.write(text),
  })
  process.exitCode = code ?? 1
}

async function measure(subject: Subject, count: number): Promise<Figures> {
  const host = createNetns()
  try {
    runInNetns(host, buildHost)
    return await measureIn(host, subject, count)
  } finally {
    closeNetns(host)
  }
}

async function measureIn(host: Netns, subject: Subject, count: number): Promise<Figures> {
  const all = Array.from({ length: count }, (_, n) => serviceOf(n, REPLICAS))
  const services = stateOf(all)
  const before = readMemory()
  const opened = await subject.open(host)
  const load = await timed(() => opened.update(services))
  const after = readMemory()
  const more = stateOf([...all, serviceOf(count, REPLICAS)])
  const [replica, replicaCpu]: [number[], number[]] = [[], []]
  const [addition, removal]: [number[], number[]] = [[], []]
  for (let round = 0; round <= changes; round++) {
    const changed = serviceOf((round * STRIDE) % count, REPLICAS - 1)
    const fewer = new Map(services).set(changed.key, changed)
    for (const to of [fewer, services]) {
      const cpuBefore = process.cpuUsage()
      replica.push(await timed(() => opened.update(to)))
      const { user, system } = process.cpuUsage(cpuBefore)
      replicaCpu.push((user + system) / 1000)
    }
    addition.push(await timed(() => opened.update(more)))
    removal.push(await timed(() => opened.update(services)))
  }
  // The first of each makes what all others find.
  for (const samples of [replica, replicaCpu, addition, removal]) samples.shift()
  const adoption = await opened.takeOver?.(services)
  await opened.close()
  return {
    ...{ subject: subject.name, services: count, load, adoption },
    ...{ replica, replicaCpu, addition, removal },
    processMegabytes: after.processMegabytes - before.processMegabytes,
    kernelMegabytes: after.kernelMegabytes - before.kernelMegabytes,
  }
}

function buildHost(): void {
  createBridge(PLACE.bridge, { mac: PLACE.host.mac })
  const index = getLink(PLACE.bridge)?.index ?? 0
  addAddress(index, `${PLACE.host.ipv4}/16`)
  updateLink(index, { isUp: true })
}

/** Addresses of its own for each replica. */
function serviceOf(n: number, replicas: number): VirtualService {
  return {
    ...{ key: `s${n}`, name: `bench/s${n}`, mark: n + 1, scheduler: 'rr' },
    ports: [{ protocol: 'tcp', first: 2_000 + n, last: 2_000 + n }],
    affinity: { kind: 'none' },
    destinations: Array.from({ length: replicas }, (_, i) => ({
      ...{ id: `d${i}`, ipv4: `10.${100 + (n >> 8)}.${n & 255}.${i + 1}`, weight: 1 },
      ownAddresses: [],
    })),
  }
}

async function timed(body: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await body()
  return performance.now() - startedAt
}

function formatFigures(all: readonly Figures[]): string {
  const rows = all.map(one => [
    one.subject,
    one.services.toLocaleString('en'),
    seconds(one.load),
    formatSamples(one.replica),
    `${at(one.replicaCpu, 0.5).toFixed(2)} ms`,
    ...[one.addition, one.removal].map(formatSamples),
    one.adoption === undefined ? '-' : seconds(one.adoption),
    `${one.processMegabytes} MB`,
    `${one.kernelMegabytes} MB`,
    verdictOn(one),
  ])
  const head = [
    'LAYOUT',
    'SERVICES',
    'LOAD',
    'A REPLICA',
    'OF IT CPU',
    'ONE MORE',
    'ONE LESS',
    'TAKING OVER',
  ]
  return formatTable([...head, 'PROCESS', 'KERNEL', `P99 UNDER ${BOUND_MS} MS`], rows)
}

function verdictOn({ subject, replica, addition, removal }: Figures): string {
  if (options.emulated || subject === 'chains') return ''
  return [replica, addition, removal].every(some => at(some, 0.99) < BOUND_MS) ? 'yes' : 'NO'
}

/** Of one layout to another's at one size, and of one layout's most services to its fewest. */
function formatRatios(all: readonly Figures[]): string {
  const rows: string[][] = []
  const ratio = (what: string, a: number, b: number): number =>
    rows.push([what, (a / b).toFixed(a / b < 0.1 ? 3 : 2)])
  for (const one of all) {
    const others = all.filter(
      ({ subject, services }) => subject !== one.subject && services === one.services,
    )
    for (const other of others) {
      if (all.indexOf(other) < all.indexOf(one)) continue
      const pair = `${one.subject} / ${other.subject}, ${one.services} services`
      ratio(`${pair}: load`, one.load, other.load)
      ratio(`${pair}: a replica, p50`, at(one.replica, 0.5), at(other.replica, 0.5))
    }
  }
  for (const subject of new Set(all.map(one => one.subject))) {
    const own = all.filter(one => one.subject === subject)
    const [few, many] = [own.at(0), own.at(-1)]
    if (few === undefined || many === undefined || few === many) continue
    const growth = `${subject}, ${many.services} / ${few.services} services: a replica, p50`
    ratio(growth, at(many.replica, 0.5), at(few.replica, 0.5))
  }
  return formatTable(['RATIO', 'IS'], rows)
}

function formatSamples(samples: readonly number[]): string {
  return `${at(samples, 0.5).toFixed(2)} / ${at(samples, 0.99).toFixed(2)} ms`
}

function at(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.ceil(part * sorted.length) - 1] ?? Number.NaN
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}
