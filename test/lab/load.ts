/** wrk(1) at full speed from a namespace of the lab, until told to end, and what it counted. */

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'

export interface LoadOptions {
  readonly netns: Netns
  readonly url: string
  readonly connections: number
  /** A new connection for each request. Default: they are kept. */
  readonly isClosing?: boolean
}

export interface LoadReport {
  readonly requests: number
  /** By kind: `connect`, `read`, `write`, `timeout`, `status`. */
  readonly errors: Readonly<Record<string, number>>
  readonly failed: number
}

/** Longer than any test; it is ended before. */
const longestSeconds = 280

export class Load {
  readonly #child: ChildProcess
  #output = ''

  constructor(t: Test, { netns, url, connections, isClosing = false }: LoadOptions) {
    const words = ['-t', '1', '-c', `${connections}`, '-d', `${longestSeconds}s`]
    const header = isClosing ? ['-H', 'Connection: close'] : []
    const rest = ['--timeout', '10s', ...header, url]
    this.#child = runInNetns(netns, () =>
      spawn('wrk', [...words, ...rest], { stdio: ['ignore', 'pipe', 'pipe'] }),
    )
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    }
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** Ends it; it says what it counted. */
  async finish(): Promise<LoadReport> {
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGINT')
    await closed
    return parseReport(this.#output)
  }
}

function parseReport(text: string): LoadReport {
  const requests = /(\d+) requests in /.exec(text)?.[1]
  if (requests === undefined) throw new Error(`wrk did not run: ${text}`)
  const errors: Record<string, number> = {}
  const socket = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)
  for (const [i, kind] of ['connect', 'read', 'write', 'timeout'].entries()) {
    errors[kind] = Number(socket?.[i + 1] ?? 0)
  }
  errors['status'] = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0)
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0)
  return { requests: Number(requests), errors, failed }
}
