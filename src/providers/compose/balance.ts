/**
 * How connections are spread over a service's replicas: labels `portolan.*` of the service, as other
 * proxies take theirs. A label that is not known is a mistake, not a comment.
 */

import { defaultBalance, type BalanceSpec, type ProbeSpec } from '../../catalog/service.js'
import { MAX_DURATION_MS, parseDuration } from './duration.js'
import { shorten, suggestion } from './name.js'
import type { Place } from './report.js'

const PREFIX = 'portolan.'
const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'] as const
/** IPVS's own (ip_vs.h, IP_VS_TEMPLATE_TIMEOUT is 6 minutes; Swarm and kube-proxy take 3 hours). */
const AFFINITY_TIMEOUT_MS = 10_800_000
const MAX_WEIGHT = 65_535
const MAX_DRAIN_MS = 86_400_000

type Reader = (text: string, at: Place) => Partial<BalanceSpec>
type ProbeReader = (text: string, at: Place) => Partial<ProbeSpec>

const READERS: Readonly<Record<string, Reader>> = {
  scheduler: (text, at) => optional('scheduler', choose(text, SCHEDULERS, at)),
  affinity: (text, at) => {
    const kind = choose(text, ['none', 'client-ip'] as const, at)
    if (kind === undefined) return {}
    if (kind === 'none') return { affinity: { kind } }
    return { affinity: { kind, timeoutSeconds: AFFINITY_TIMEOUT_MS / 1000 } }
  },
  weights: (text, at) => optional('weights', parseWeights(text, at)),
  drain: (text, at) => optional('drainMs', milliseconds(text, at, MAX_DRAIN_MS)),
  'drain.signal': (text, at) =>
    optional('stopSignalOrder', choose(text, ['first', 'last'] as const, at)),
  panic: (text, at) => {
    const word = choose(text, ['on', 'off'] as const, at)
    return word === undefined ? {} : { isPanicking: word === 'on' }
  },
  'proxy-protocol': (text, at) => optional('proxyProtocol', choose(text, ['v2'] as const, at)),
}

const PROBE_READERS: Readonly<Record<string, ProbeReader>> = {
  'probe.interval': (text, at) => optional('intervalMs', milliseconds(text, at)),
  'probe.timeout': (text, at) => optional('timeoutMs', milliseconds(text, at)),
  'probe.fall': (text, at) => optional('fall', count(text, at)),
  'probe.rise': (text, at) => optional('rise', count(text, at)),
}

const KNOWN = [
  ...[...Object.keys(READERS), ...Object.keys(PROBE_READERS)],
  ...['affinity.timeout', 'probe'],
]

/** From the labels of one service, whose `labels` are at `place`; undefined where none speaks of it. */
export function resolveBalance(
  labels: Readonly<Record<string, string>>,
  place: Place,
): BalanceSpec | undefined {
  const own = Object.entries(labels).filter(([key]) => key.startsWith(PREFIX))
  if (own.length === 0) return undefined
  let balance: BalanceSpec = defaultBalance
  let probe: Partial<ProbeSpec> = {}
  for (const [key, text] of own) {
    const word = key.slice(PREFIX.length)
    const at = place.at(key)
    const known = Object.hasOwn(READERS, word) ? READERS[word] : undefined
    const ofProbe = Object.hasOwn(PROBE_READERS, word) ? PROBE_READERS[word] : undefined
    if (known !== undefined) balance = { ...balance, ...known(text, at) }
    else if (ofProbe !== undefined) probe = { ...probe, ...ofProbe(text, at) }
    else if (word === 'probe') probe = { ...probe, target: text }
    else if (word !== 'affinity.timeout')
      at.problem(`is no label of ours${suggestion(word, KNOWN)}`)
  }
  balance = withAffinityTimeout(balance, labels, place)
  if (Object.keys(probe).length === 0) return balance
  return { ...balance, probe: { ...probe, target: probe.target ?? 'listen' } }
}

function withAffinityTimeout(
  balance: BalanceSpec,
  labels: Readonly<Record<string, string>>,
  place: Place,
): BalanceSpec {
  const key = `${PREFIX}affinity.timeout`
  const text = labels[key]
  if (text === undefined) return balance
  const at = place.at(key)
  if (balance.affinity.kind === 'none') {
    at.problem(`means nothing without ${PREFIX}affinity: client-ip`)
    return balance
  }
  const timeoutMs = milliseconds(text, at)
  if (timeoutMs === undefined) return balance
  const timeoutSeconds = Math.max(1, Math.round(timeoutMs / 1000))
  return { ...balance, affinity: { kind: 'client-ip', timeoutSeconds } }
}

/** `1=3,2=1`: replica number and weight. */
function parseWeights(text: string, at: Place): Readonly<Record<string, number>> | undefined {
  const weights: Record<string, number> = {}
  for (const part of text.split(',')) {
    const [, number, weight] = /^\s*([1-9]\d*)\s*=\s*(\d+)\s*$/.exec(part) ?? []
    const value = Number(weight)
    if (number === undefined || value < 1 || value > MAX_WEIGHT) {
      at.problem(
        `"${shorten(text)}" is not REPLICA=WEIGHT,... with weights from 1 to ${MAX_WEIGHT}`,
      )
      return undefined
    }
    weights[number] = value
  }
  return weights
}

function choose<const T extends readonly string[]>(
  text: string,
  words: T,
  at: Place,
): T[number] | undefined {
  const word = words.find(one => one === text)
  if (word === undefined) at.problem(`"${shorten(text)}" is not known; write ${words.join(' or ')}`)
  return word
}

function milliseconds(text: string, at: Place, most = MAX_DURATION_MS): number | undefined {
  const value = parseDuration(text)
  if (value !== undefined && value > most) {
    at.problem(`"${shorten(text)}" is longer than ${most / 86_400_000} days`)
    return undefined
  }
  if (value === undefined) {
    at.problem(`"${shorten(text)}" is not a duration; write it as 500ms, 10s or 1m30s`)
  }
  return value
}

function count(text: string, at: Place): number | undefined {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  at.problem(`"${shorten(text)}" is not a number from 1 to 9999`)
  return undefined
}

function optional<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  if (value === undefined) return {}
  const result: Partial<Record<K, V>> = {}
  result[key] = value
  return result
}
