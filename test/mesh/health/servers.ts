/** Servers on 127.0.0.1 that behave badly in one way each, for probes to meet. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { Test } from 'tap'

export interface ServerFixture {
  readonly port: number
  /** What clients sent, one text per connection, in order of arrival. */
  readonly received: readonly string[]
  /** Connections open now. */
  open(): Promise<number>
}

/** A TCP server for the length of `t`; `onConnection` gets every connection. */
export function serve(t: Test, onConnection: (socket: Socket) => void): Promise<ServerFixture> {
  return listen(t, createServer(), 'connection', onConnection)
}

/** The same behind TLS, with a certificate nobody knows. */
export function serveTls(t: Test, onConnection: (socket: Socket) => void): Promise<ServerFixture> {
  return listen(t, createTlsServer(selfSigned(t)), 'secureConnection', onConnection)
}

/** Answers every request of a connection with `text`, as it is, and leaves the connection open. */
export function answer(text: string): (socket: Socket) => void {
  return socket => {
    socket.on('data', () => socket.write(text))
  }
}

/** A port on which nobody listens. */
export async function refusedPort(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  t.comment(`nobody listens on ${port}`)
  return port
}

/** Open descriptors of this process. */
export function countDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

async function listen(
  t: Test,
  server: Server,
  event: string,
  onConnection: (socket: Socket) => void,
): Promise<ServerFixture> {
  const received: string[] = []
  const sockets = new Set<Socket>()
  server.on(event, (socket: Socket) => {
    const index = received.push('') - 1
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (bytes: Buffer) => (received[index] += bytes.toString('latin1')))
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const open = async (): Promise<number> => {
    await new Promise(setImmediate)
    return sockets.size
  }
  return { port: portOf(server), received, open }
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return address.port
}

function selfSigned(t: Test): { readonly key: string; readonly cert: string } {
  const directory = mkdtempSync(join(tmpdir(), 'portolan-tls-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const made = spawnSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'].concat([
      '-keyout',
      key,
      '-out',
      cert,
      '-days',
      '1',
      '-subj',
      '/CN=replica.test',
    ]),
    { encoding: 'utf8', timeout: 10_000 },
  )
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr || String(made.error)}`)
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
}
