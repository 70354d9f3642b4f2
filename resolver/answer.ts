/**
 * Answers one packet: parses it, decides, and writes the reply straight into the listener's
 * buffer. The hot path: nothing is encoded here that a zone could encode beforehand.
 */

import { FLAG, HEADER_BYTES } from './accept.js'
import { OPT_BYTES, SOA_BYTES, startReply, write16, writeOpt, writeSoa } from './compose.js'
import { type Disposition, decide } from './decide.js'
import { clientLimit } from './fit.js'
import { NO_REPLY, type ParseFailure, type Query, parseQuery } from './message.js'
import { EDE, type ExtendedError, RCODE } from './rcode.js'
import { SetWriter } from './set-writer.js'
import type { View } from './view.js'

export { type Disposition, type Question, decide } from './decide.js'

/** What `respond` returns where it wrote no reply: say nothing. */
export const DROP = 0
/** What `respond` returns where it wrote no reply: the upstreams are to be asked. */
export const FORWARD = -1

/** 127.0.0.11 has no path MTU to fear; sockets on real networks take 1232 (DNS flag day 2020). */
export const DEFAULT_UDP_BYTES = 4096

export interface ResponderOptions {
  /** Uniform in [0, 1). Default Math.random: the order of answers is no secret. */
  readonly random?: () => number
  /** The most a UDP reply may have, whatever the client offers. Default 4096. */
  readonly udpBytes?: number
}

/** Holds the scratch memory of answering; one for all views of a listener, or of a process. */
export class Responder {
  readonly #sets: SetWriter
  readonly #udpBytes: number

  constructor(options: ResponderOptions = {}) {
    this.#sets = new SetWriter(options.random ?? Math.random)
    this.#udpBytes = options.udpBytes ?? DEFAULT_UDP_BYTES
  }

  /**
   * Writes the reply to query[start, end) into `out` at `at`; returns its length, `DROP` or
   * `FORWARD`. `out` should have 64 KiB free for TCP and 4 KiB for UDP; with less, answers are
   * truncated to what fits. Never throws.
   */
  respond(
    view: View,
    query: Buffer,
    start: number,
    end: number,
    transport: 'udp' | 'tcp',
    out: Buffer,
    at: number,
  ): number {
    const parsed = parseQuery(query, start, end)
    const room = out.length - at
    if (parsed.kind === 'failure') {
      if (parsed.rcode === NO_REPLY || room < MIN_ROOM) return DROP
      return composeParseFailure(parsed, query, start, out, at)
    }
    const disposition = decide(parsed, view)
    if (disposition.kind === 'forward') return FORWARD
    if (room < MIN_ROOM) return DROP
    const limit = Math.min(clientLimit(parsed, transport, this.#udpBytes), room)
    return this.#compose(disposition, parsed, query, start, out, at, limit)
  }

  #compose(
    disposition: Exclude<Disposition, { kind: 'forward' }>,
    parsed: Query,
    query: Buffer,
    start: number,
    out: Buffer,
    at: number,
    limit: number,
  ): number {
    const { questionEnd, edns } = parsed
    switch (disposition.kind) {
      case 'answer': {
        let pos = startReply(out, at, query, start, questionEnd, FLAG.AA)
        const end = at + limit - (edns === undefined ? 0 : OPT_BYTES)
        pos = this.#sets.write(disposition.sets, out, at, pos, end)
        if (edns !== undefined) pos = finishOpt(out, at, writeOpt(out, pos, edns, 0))
        return pos - at
      }
      case 'no-data':
      case 'name-error': {
        const rcode = disposition.kind === 'no-data' ? RCODE.NOERROR : RCODE.NXDOMAIN
        let pos = startReply(out, at, query, start, questionEnd, FLAG.AA | rcode)
        const { apex } = disposition
        pos = writeSoa(out, pos, HEADER_BYTES + apex, apex >= parsed.name.length)
        out[at + 9] = 1
        if (edns !== undefined) pos = finishOpt(out, at, writeOpt(out, pos, edns, 0))
        return pos - at
      }
      case 'failure': {
        const { rcode, error } = disposition
        let pos = startReply(out, at, query, start, questionEnd, rcode)
        if (edns !== undefined) pos = finishOpt(out, at, writeOpt(out, pos, edns, rcode, error))
        return pos - at
      }
    }
  }
}

/** The longest question, an SOA, and an OPT with our longest extended error. */
const MIN_ROOM = HEADER_BYTES + 255 + 4 + SOA_BYTES + OPT_BYTES + 6 + 64

function composeParseFailure(
  failure: ParseFailure,
  query: Buffer,
  start: number,
  out: Buffer,
  at: number,
): number {
  const { rcode, edns, reason, questionEnd } = failure
  const pos = startReply(out, at, query, start, questionEnd, rcode & FLAG.RCODE)
  if (edns === undefined) return pos - at
  const error: ExtendedError | undefined =
    reason === '' ? undefined : { code: EDE.OTHER, text: reason }
  return finishOpt(out, at, writeOpt(out, pos, edns, rcode, error)) - at
}

/** Counts the OPT just written, on top of the additional records before it. */
function finishOpt(out: Buffer, at: number, pos: number): number {
  write16(out, at + 10, (((out[at + 10] ?? 0) << 8) | (out[at + 11] ?? 0)) + 1)
  return pos
}
