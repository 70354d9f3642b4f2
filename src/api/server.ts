/** HTTP over the daemon's unix socket: routes and status codes, no decisions. */

import { chmodSync, rmSync } from 'node:fs'
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { z } from 'zod'
import { errorCode, errorMessage } from '../base/error.js'
import type { ProgressEvent, Report } from './contract.js'
import type { Operations } from './operations.js'
import {
  connectBody,
  createNetworkBody,
  digQuery,
  disconnectBody,
  downQuery,
  drainBody,
  explainQuery,
  logsQuery,
  renameBody,
  scaleBody,
  stopQuery,
  traceQuery,
  upBody,
  updateServiceBody,
} from './schema.js'

/** Compose files with their environment are small; 8 MiB bounds what a client can make us hold. */
const bodyLimitBytes = 8 << 20

export interface ApiServer {
  /** How many requests are under way, streams included. */
  readonly active: number
  close(): Promise<void>
}

/** Serves `operations` at `socketPath` for its owner alone. A stale socket file is replaced. */
export async function openApiServer(
  operations: Operations,
  socketPath: string,
): Promise<ApiServer> {
  const server = fastify({ bodyLimit: bodyLimitBytes, forceCloseConnections: true })
  server.setErrorHandler((error, _request, reply) => {
    const { status, code, message } = describeError(error)
    return reply.code(status).send({ code, message })
  })
  server.setNotFoundHandler((request, reply) =>
    reply.code(404).send({
      code: 'API_NO_SUCH_ROUTE',
      message: `${request.method} ${request.url} is not part of the API; client and daemon may differ in version`,
    }),
  )
  let active = 0
  server.addHook('onRequest', async (_request, reply) => {
    active++
    reply.raw.once('close', () => active--)
  })
  addProjectRoutes(server, operations)
  addContainerRoutes(server, operations)
  addNetworkRoutes(server, operations)
  addMeshRoutes(server, operations)
  addDnsRoutes(server, operations)
  server.get('/v1/status', () => operations.status())
  server.post('/v1/shutdown', async (_request, reply) => {
    await reply.send({})
    await operations.shutdown()
  })
  rmSync(socketPath, { force: true })
  // Created with the narrow mode from the start: no moment in which others may connect.
  const previousMask = process.umask(0o177)
  try {
    await server.listen({ path: socketPath })
  } finally {
    process.umask(previousMask)
  }
  chmodSync(socketPath, 0o600)
  return {
    get active() {
      return active
    },
    close: () => server.close(),
  }
}

const nameParameters = z.object({ name: z.string() })

function addProjectRoutes(server: FastifyInstance, operations: Operations): void {
  server.get('/v1/projects', () => operations.listProjects())
  server.post('/v1/projects', (request, reply) => {
    const body = upBody.parse(request.body)
    return streamProgress(reply, report => operations.up(body, report))
  })
  server.post('/v1/projects/name', request => ({
    name: operations.projectNameOf(upBody.parse(request.body)),
  }))
  server.delete('/v1/projects/:name', (request, reply) => {
    const { name } = nameParameters.parse(request.params)
    const { timeout } = downQuery.parse(request.query)
    const options = timeout === undefined ? {} : { timeoutSeconds: timeout }
    return streamProgress(reply, report => operations.down(name, options, report))
  })
  server.post('/v1/projects/:name/scale', (request, reply) => {
    const { name } = nameParameters.parse(request.params)
    const { replicas } = scaleBody.parse(request.body)
    return streamProgress(reply, report => operations.scale(name, replicas, report))
  })
}

function addContainerRoutes(server: FastifyInstance, operations: Operations): void {
  const named = (request: { readonly params: unknown }): string =>
    nameParameters.parse(request.params).name
  server.get('/v1/containers', () => operations.listContainers())
  server.get('/v1/containers/:name', request => operations.getContainer(named(request)))
  server.get('/v1/containers/:name/process', request => operations.processOf(named(request)))
  server.post('/v1/containers/:name/start', async request => {
    await operations.startContainer(named(request))
    return {}
  })
  server.post('/v1/containers/:name/stop', async request => {
    const { timeout } = stopQuery.parse(request.query)
    await operations.stopContainer(named(request), timeout)
    return {}
  })
  server.post('/v1/containers/:name/rename', async request => {
    await operations.renameContainer(named(request), renameBody.parse(request.body).name)
    return {}
  })
  server.get('/v1/containers/:name/logs', (request, reply) => {
    const { tail, follow } = logsQuery.parse(request.query)
    const name = named(request)
    operations.getContainer(name)
    const aborted = new AbortController()
    reply.raw.on('close', () => aborted.abort())
    const options = { follow, ...(tail !== undefined && { tail }) }
    const stream = Readable.from(operations.logs(name, options, aborted.signal))
    return reply.type('application/octet-stream').send(stream)
  })
}

function addNetworkRoutes(server: FastifyInstance, operations: Operations): void {
  const named = (request: { readonly params: unknown }): string =>
    nameParameters.parse(request.params).name
  server.get('/v1/networks', () => operations.listNetworks())
  server.post('/v1/networks', async (request, reply) => {
    const network = await operations.createNetwork(createNetworkBody.parse(request.body))
    return reply.code(201).send(network)
  })
  server.post('/v1/networks/prune', async () => ({ removed: await operations.pruneNetworks() }))
  server.get('/v1/networks/:name', request => operations.getNetwork(named(request)))
  server.delete('/v1/networks/:name', async request => {
    await operations.removeNetwork(named(request))
    return {}
  })
  server.post('/v1/networks/:name/connect', async request => {
    await operations.connect(named(request), connectBody.parse(request.body))
    return {}
  })
  server.post('/v1/networks/:name/disconnect', async request => {
    await operations.disconnect(named(request), disconnectBody.parse(request.body).container)
    return {}
  })
}

function addMeshRoutes(server: FastifyInstance, operations: Operations): void {
  server.get('/v1/services', () => operations.listServices())
  server.post('/v1/services/:name/update', (request, reply) => {
    const { name } = nameParameters.parse(request.params)
    const body = updateServiceBody.parse(request.body)
    return streamProgress(reply, report => operations.updateService(name, body, report))
  })
  server.post('/v1/containers/:name/drain', (request, reply) => {
    const { name } = nameParameters.parse(request.params)
    const body = drainBody.parse(request.body)
    return streamProgress(reply, report => operations.drain(name, body, report))
  })
  server.get('/v1/mesh', () => operations.mesh())
  server.get('/v1/mesh/trace', request => {
    const { port, protocol } = traceQuery.parse(request.query)
    return operations.trace(port, protocol)
  })
}

function addDnsRoutes(server: FastifyInstance, operations: Operations): void {
  server.get('/v1/dns/query', request => {
    const { from, name, type, tcp } = digQuery.parse(request.query)
    return operations.dig({ from, name, type, isTcp: tcp })
  })
  server.get('/v1/dns/explain', request => {
    const { from, name, type } = explainQuery.parse(request.query)
    return operations.explain(from, name, type)
  })
  server.post('/v1/dns/flush', () => {
    operations.flushDns()
    return {}
  })
}

/** Answers with one JSON line an event. What goes wrong comes as the last line: the status is sent. */
function streamProgress(reply: FastifyReply, run: (report: Report) => Promise<void>): FastifyReply {
  const stream = new Readable({ read: () => undefined })
  const report = (event: ProgressEvent): void => {
    if (!stream.destroyed) stream.push(`${JSON.stringify(event)}\n`)
  }
  run(report)
    .catch((error: unknown) => {
      const { code, message } = describeError(error)
      report({ kind: 'error', code, message })
    })
    .finally(() => stream.push(null))
  return reply.type('application/x-ndjson').send(stream)
}

function describeError(error: unknown): { status: number; code: string; message: string } {
  if (error instanceof z.ZodError) {
    const issue = error.issues[0]
    const where = issue?.path.join('.') ?? ''
    return { status: 400, code: 'API_BAD_REQUEST', message: `${where}: ${issue?.message ?? ''}` }
  }
  const code = errorCode(error) ?? 'INTERNAL'
  const message = errorMessage(error)
  if (code.endsWith('NOT_FOUND')) return { status: 404, code, message }
  if (code.endsWith('IN_USE')) return { status: 409, code, message }
  return { status: code === 'INTERNAL' ? 500 : 400, code, message }
}
