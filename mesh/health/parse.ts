/** Parses probes and durations as people write them in a label or a file. */

import { HealthError } from './error.js'
import type { ProbeSpec } from './probe.js'

const FORMS = 'tcp://:PORT, http://:PORT/PATH, https://:PORT/PATH, cmd:COMMAND or none'

/** Milliseconds in a unit. */
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** What a Node timer can wait: 2^31-1 ms. */
const MAX_DURATION_MS = 2 ** 31 - 1

/**
 * The probe of a text, or undefined for `none`. The replica's own address is asked, so that a host in
 * the text is only the Host header: `http://shop.example:8080/healthz`. The port of http is 80 where it
 * is absent, of https 443. Words of a command are parted by spaces, and kept together by quotes.
 * Throws HealthError `HEALTH_BAD_PROBE`.
 */
export function parseProbe(text: string): ProbeSpec | undefined {
  const trimmed = text.trim()
  if (trimmed === 'none') return undefined
  if (trimmed.startsWith('tcp://')) return parseTcp(trimmed)
  if (/^https?:\/\//.test(trimmed)) return parseHttp(trimmed)
  if (trimmed.startsWith('cmd:')) return parseCommand(trimmed)
  throw refuse(text, `write ${FORMS}`)
}

/** Whole milliseconds of `500ms`, `2s` or `1m30s`. Throws HealthError `HEALTH_BAD_PROBE`. */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/gy)]
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text.trim()
  const total = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ''] ?? 0),
    0,
  )
  if (isWhole && total <= MAX_DURATION_MS) return Math.ceil(total)
  throw new HealthError(
    'HEALTH_BAD_PROBE',
    `"${text}" is not a duration of a probe; write it as 500ms, 2s or 1m30s`,
  )
}

function parseTcp(text: string): ProbeSpec {
  const [, port] = /^tcp:\/\/:(\d{1,5})\/?$/.exec(text) ?? []
  if (port === undefined) throw refuse(text, 'write tcp://:PORT, such as tcp://:5432')
  return { kind: 'tcp', port: parsePort(text, port) }
}

function parseHttp(text: string): ProbeSpec {
  const match = /^(https?):\/\/([\w.-]+|\[[\da-fA-F:.]+\])?(?::(\d{1,5}))?(\/[\x21-\x7e]*)?$/.exec(
    text,
  )
  const [, scheme, name, port, path = '/'] = match ?? []
  if (scheme === undefined || path.includes('#')) {
    throw refuse(text, 'write http://:PORT/PATH, such as http://:8080/healthz')
  }
  const isTls = scheme === 'https'
  return {
    kind: 'http',
    port: port === undefined ? (isTls ? 443 : 80) : parsePort(text, port),
    path,
    ...(name !== undefined && { host: port === undefined ? name : `${name}:${port}` }),
    ...(isTls && { isTls }),
  }
}

function parseCommand(text: string): ProbeSpec {
  const words = splitWords(text.slice('cmd:'.length))
  if (words === undefined) throw refuse(text, 'close the quote that is open')
  const [first] = words
  if (first === undefined || first === '') throw refuse(text, 'name a command after "cmd:"')
  return { kind: 'command', argv: words }
}

/** Undefined where a quote is open. No escapes: what is between quotes is what the command gets. */
function splitWords(text: string): string[] | undefined {
  const words: string[] = []
  let rest = text.trimStart()
  while (rest !== '') {
    const [word] = /^(?:"[^"]*"|'[^']*'|[^\s"'])+/.exec(rest) ?? []
    if (word === undefined) return undefined
    rest = rest.slice(word.length)
    if (rest !== '' && !/^\s/.test(rest)) return undefined
    rest = rest.trimStart()
    words.push(
      word.replace(
        /"([^"]*)"|'([^']*)'/g,
        (_, double?: string, single?: string) => double ?? single ?? '',
      ),
    )
  }
  return words
}

function parsePort(text: string, digits: string): number {
  const port = Number(digits)
  if (port >= 1 && port <= 65_535) return port
  throw refuse(text, 'give a port from 1 to 65535')
}

function refuse(text: string, advice: string): HealthError {
  return new HealthError('HEALTH_BAD_PROBE', `"${text}" is not a readiness probe; ${advice}`)
}
