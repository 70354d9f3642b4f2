/** The load of the mesh benchmark: what wrk and iperf3 measure of one way, and what CPU that takes. */

import { setTimeout as delay } from 'node:timers/promises'
import { cpuOf, type MeshLab } from './mesh-lab.js'
import type { Way } from './mesh-peers.js'

export interface Figures {
  readonly connectionsPerSecond: number
  /** Microseconds of CPU time of clients, replicas, and what is between, the kernel's share included. */
  readonly cpuPerConnection: number
  /** As that, of the processes of the way alone. */
  readonly proxyPerConnection: number
  /** On connections that stay. */
  readonly requestsPerSecond: number
  /** Of one request after the other on one connection, in microseconds. */
  readonly p50: number
  readonly p99: number
  readonly gigabitsPerSecond: number
  /** Connections and requests that went wrong. */
  readonly failures: number
}

interface Answers {
  readonly requests: number
  readonly microseconds: number
  readonly failures: number
  readonly p50: number
  readonly p99: number
}

const ANSWER_TRIES = 100
const ANSWER_PAUSE_MS = 50
/** Connections that are open at a time, over all threads. */
const CONNECTIONS = 64
/** What both generators count in. */
const LEAST_SECONDS = 1

/** `seconds`: of each of four loads. */
export async function measure(lab: MeshLab, way: Way, seconds: number): Promise<Figures> {
  await isAnswering(lab, way)
  const whole = Math.max(LEAST_SECONDS, Math.round(seconds))
  const before = { all: lab.cpu(), proxy: cpuOf(way.pids()) }
  const opened = await runWrk(lab, way, { seconds: whole, isKept: false, connections: CONNECTIONS })
  const all = lab.cpu() - before.all
  const proxy = cpuOf(way.pids()) - before.proxy
  const kept = await runWrk(lab, way, { seconds: whole, isKept: true, connections: CONNECTIONS })
  const alone = await runWrk(lab, way, { seconds: whole, isKept: true, connections: 1 })
  return {
    connectionsPerSecond: perSecond(opened),
    cpuPerConnection: (all * 1000) / opened.requests,
    proxyPerConnection: (proxy * 1000) / opened.requests,
    requestsPerSecond: perSecond(kept),
    p50: alone.p50,
    p99: alone.p99,
    gigabitsPerSecond: await runIperf(lab, way, whole),
    failures: opened.failures + kept.failures + alone.failures,
  }
}

/** Throws what the last try said. */
async function isAnswering(lab: MeshLab, { web, bulk }: Way): Promise<void> {
  for (const at of [...web, bulk]) {
    for (let tries = 1; ; tries++) {
      try {
        const [address = '', port = ''] = at.split(' ')
        lab.run(lab.client, ['bash', '-c', `exec 3<>/dev/tcp/${address}/${port}`])
        break
      } catch (error) {
        if (tries === ANSWER_TRIES) throw error
        await delay(ANSWER_PAUSE_MS)
      }
    }
  }
}

interface Load {
  readonly seconds: number
  readonly isKept: boolean
  readonly connections: number
}

async function runWrk(lab: MeshLab, { web }: Way, load: Load): Promise<Answers> {
  const script = lab.write('load.lua', composeScript(web, load.isKept))
  const threads = Math.min(load.connections, Math.max(2, web.length))
  const [address = '', port = ''] = (web[0] ?? '').split(' ')
  const options = [`-t${threads}`, `-c${load.connections}`, `-d${load.seconds}`, '-s', script]
  const command = ['wrk', ...options, `http://${address}:${port}/`]
  const output = await lab.load(command)
  const line = output.split('\n').find(text => text.startsWith('{'))
  if (line === undefined) throw new Error(`wrk said nothing that is known: ${output}`)
  const answers = JSON.parse(line) as Answers
  if (answers.requests === 0) throw new Error(`Nobody answered at ${web.join(', ')}: ${output}`)
  return answers
}

/** Each thread of wrk's has one address: they take turns. */
function composeScript(web: readonly string[], isKept: boolean): string {
  const places = web.map(at => `{"${at.replace(' ', '", "')}"}`)
  return `local places = { ${places.join(', ')} }
local count = 0
${isKept ? '' : 'wrk.headers["Connection"] = "close"'}
function setup(thread)
  local place = places[count % #places + 1]
  count = count + 1
  thread.addr = wrk.lookup(place[1], place[2])[1]
end
function done(summary, latency)
  local wrong = summary.errors
  print(string.format(
    '{"requests":%d,"microseconds":%d,"failures":%d,"p50":%d,"p99":%d}',
    summary.requests, summary.duration,
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`
}

function perSecond({ requests, microseconds }: Answers): number {
  return (requests * 1_000_000) / microseconds
}

/** What arrived. */
async function runIperf(lab: MeshLab, { bulk }: Way, seconds: number): Promise<number> {
  const [address = '', port = ''] = bulk.split(' ')
  // The first moments are slow start.
  const options = ['--time', String(seconds), '--omit', '0', '--json']
  const command = ['iperf3', '--client', address, '--port', port, ...options]
  const report = JSON.parse(await lab.load(command)) as {
    readonly end: { readonly sum_received: { readonly bits_per_second: number } }
  }
  return report.end.sum_received.bits_per_second / 1e9
}
