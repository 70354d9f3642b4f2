/**
 * Whether a replica answers an HTTP request with the status wanted. One connection per probe, made in
 * the stack of the target and closed after it; a redirect is an answer and not followed.
 */

import { once } from 'node:events'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Dispatcher } from 'undici'
import { withinTime, type Progress } from './deadline.js'
import { HealthError } from './error.js'
import { timingOf, type HttpProbeSpec, type Probe, type ProbeResult } from './probe.js'
import { describeFailure } from './reason.js'
import { checkTarget, connectTo, type ProbeTarget } from './target.js'

const DEFAULT_STATUS = { from: 200, to: 399 } as const
/** A body is read this far, so that a server that sends a short one is not cut off while it writes. */
const MAX_BODY_BYTES = 16_384
const USER_AGENT = 'portolan-probe'

/**
 * Sends one request. The status decides; the time-out covers everything up to the headers, and a body
 * that is late or long does not matter. Throws HealthError `HEALTH_BAD_PROBE`.
 */
export function httpProbe(spec: HttpProbeSpec, target: ProbeTarget): Probe {
  checkTarget(target, spec.port)
  checkRequest(spec)
  return withinTime(timingOf(spec).timeoutMs, (signal, progress) =>
    askOnce(spec, target, signal, progress),
  )
}

async function askOnce(
  spec: HttpProbeSpec,
  target: ProbeTarget,
  signal: AbortSignal,
  progress: Progress,
): Promise<ProbeResult> {
  try {
    progress.stage = 'while connecting'
    const connection = await connectTo(target, spec.port, signal)
    try {
      progress.stage = 'without a TLS handshake'
      const socket = spec.isTls === true ? await secure(spec, connection, signal) : connection
      progress.stage = 'without an answer'
      return await request(spec, target, socket, signal, progress)
    } finally {
      // After undici let go of it: it takes a connection that ends before for the end of a body.
      connection.destroy()
    }
  } catch (error) {
    return describeFailure(error)
  }
}

async function secure(
  { host }: HttpProbeSpec,
  connection: Socket,
  signal: AbortSignal,
): Promise<Socket> {
  const name = host?.replace(/:\d+$/, '')
  const socket = connectTls({
    socket: connection,
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: false,
    ...(name !== undefined && isIP(name) === 0 && { servername: name }),
  })
  // Stays: an error after the result is known must not throw.
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect', { signal })
  return socket
}

/** One request over `socket`. */
async function request(
  spec: HttpProbeSpec,
  { address }: ProbeTarget,
  socket: Socket,
  signal: AbortSignal,
  progress: Progress,
): Promise<ProbeResult> {
  // Loaded when first needed: undici takes long to load, and most probes are of another kind.
  const { Client } = await import('undici')
  const name = isIP(address) === 6 ? `[${address.replace(/%.*/, '')}]` : address
  const origin = `${spec.isTls === true ? 'https' : 'http'}://${name}:${spec.port}`
  let isTaken = false
  const client = new Client(origin, {
    pipelining: 0,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: (_options, callback) => {
      // undici connects again after a loss; this probe has had its connection.
      if (isTaken || socket.destroyed) return callback(new Error('connection reset'), null)
      isTaken = true
      // Not at once: undici overlooks a connection that is there before it has asked for it.
      queueMicrotask(() => callback(null, socket))
    },
  })
  try {
    const { statusCode, body } = await client.request({
      method: spec.method ?? 'GET',
      path: spec.path,
      headers: { 'user-agent': USER_AGENT, accept: '*/*', ...(spec.host && { host: spec.host }) },
      signal,
    })
    progress.result = judge(spec, statusCode)
    await drain(body, signal)
    return progress.result
  } finally {
    await client.destroy()
  }
}

/** Reads the body as far as is polite. */
async function drain(body: Dispatcher.ResponseData['body'], signal: AbortSignal): Promise<void> {
  try {
    await body.dump({ limit: MAX_BODY_BYTES, signal })
  } catch {
    // The status is what was asked for, and it is known.
  }
}

function judge({ status = DEFAULT_STATUS }: HttpProbeSpec, code: number): ProbeResult {
  const isWanted = code >= status.from && code <= status.to
  return isWanted ? { kind: 'success' } : { kind: 'failure', reason: `HTTP ${code}` }
}

/** What would break the request line or a header (RFC 9110 §5.5, RFC 9112 §3). */
function checkRequest({ path, host = '' }: HttpProbeSpec): void {
  if (/^\/[\x21-\x7e]*$/.test(path) && /^[\x21-\x7e]*$/.test(host)) return
  throw new HealthError(
    'HEALTH_BAD_PROBE',
    `Cannot probe "${path}" of host "${host}": begin the path with "/", and use no spaces in either`,
  )
}
