/** The daemon as the commands see it: typed calls over its unix socket. */

import { Pool, type Dispatcher } from 'undici'
import type { ApiError, ProgressEvent } from '../api/contract.js'
import { CodedError, errorCode } from '../base/error.js'

export class ClientError extends CodedError<string> {}

type Method = 'GET' | 'POST' | 'DELETE'

export class Client {
  readonly #pool: Pool
  readonly #socketPath: string

  /** Connects on the first call. */
  constructor(socketPath: string) {
    this.#socketPath = socketPath
    // No time-outs: `up` and `logs --follow` are quiet for as long as they like.
    this.#pool = new Pool('http://portolan', {
      socketPath,
      headersTimeout: 0,
      bodyTimeout: 0,
      connections: 16,
    })
  }

  /** The reply's JSON. Throws ClientError with the daemon's own code and sentence. */
  async call<Reply>(method: Method, path: string, body?: unknown): Promise<Reply> {
    const response = await this.#request(method, path, body)
    // The daemon of the same version wrote it; its types are the contract.
    return (await response.body.json()) as Reply
  }

  /** Calls `onEvent` for each line of progress. Throws what the stream reports as its error. */
  async stream(
    method: Method,
    path: string,
    body: unknown,
    onEvent: (event: ProgressEvent) => void,
  ): Promise<void> {
    const response = await this.#request(method, path, body)
    let rest = ''
    let isDone = false
    for await (const chunk of this.#chunksOf(response)) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const event = JSON.parse(line) as ProgressEvent
        if (event.kind === 'error') throw new ClientError(event.code, event.message)
        isDone ||= event.kind === 'done'
        onEvent(event)
      }
    }
    if (!isDone) throw cutOff()
  }

  /** The bytes of a reply as they come. */
  async bytes(path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#request('GET', path, undefined, signal)
    return response.body
  }

  close(): Promise<void> {
    return this.#pool.destroy()
  }

  async #request(
    method: Method,
    path: string,
    body: unknown,
    signal?: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const response = await this.#send(method, path, body, signal)
    if (response.statusCode < 400) return response
    const text = await response.body.text()
    const error = parseApiError(text)
    throw new ClientError(error.code, error.message)
  }

  async #send(
    method: Method,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#pool.request({
        method,
        path,
        ...(signal && { signal }),
        ...(body !== undefined && {
          body: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
      })
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** The text of a reply as it comes. A daemon that dies meanwhile ends it with our own error. */
  async *#chunksOf(response: Dispatcher.ResponseData): AsyncGenerator<string> {
    try {
      for await (const chunk of response.body.setEncoding('utf8')) yield String(chunk)
    } catch (error) {
      throw isCut(error) ? cutOff(error) : error
    }
  }

  #explain(error: unknown): unknown {
    switch (errorCode(error)) {
      case 'ENOENT':
      case 'ECONNREFUSED':
        return new ClientError(
          'CLIENT_NO_DAEMON',
          `No daemon answers at ${this.#socketPath}; \`portolan up\` or \`portolan daemon\` starts one`,
          { cause: error },
        )
      case 'EACCES':
      case 'EPERM':
        return new ClientError(
          'CLIENT_NO_RIGHT',
          `This user may not use ${this.#socketPath}; run the command as root`,
          { cause: error },
        )
      default:
        return isCut(error) ? cutOff(error) : error
    }
  }
}

function isCut(error: unknown): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(errorCode(error) ?? '')
}

function cutOff(cause?: unknown): ClientError {
  return new ClientError(
    'CLIENT_CUT_OFF',
    'The daemon went away before it was done; look at `portolan status` and run the command again',
    { cause },
  )
}

function parseApiError(text: string): ApiError {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed && 'code' in parsed) {
      return { code: String(parsed.code), message: String(parsed.message) }
    }
  } catch {
    // Not JSON: shown as it is, below.
  }
  return { code: 'CLIENT_BAD_REPLY', message: `The daemon answered ${JSON.stringify(text)}` }
}
