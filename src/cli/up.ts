/** `portolan up`: a Compose file comes up, or what of it changed. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { ContainerView, UpRequest } from '../api/contract.js'
import type { Client } from './client.js'
import {
  collect,
  example,
  pathsFor,
  parseSeconds,
  printLine,
  segment,
  UsageError,
  withClient,
} from './context.js'
import { errorCode } from '../base/error.js'
import { ensureDaemon } from './background.js'
import { followLogs } from './logs.js'
import { printProgress } from './progress.js'

interface UpOptions {
  readonly file?: readonly string[]
  readonly projectName?: string
  readonly detach?: true
  readonly removeOrphans?: true
  readonly wait?: true
  readonly timeout: string
}

const defaultFiles = ['compose.yaml', 'compose.yml', 'docker-compose.yaml', 'docker-compose.yml']

export function addUpCommand(program: Command): void {
  program
    .command('up')
    .description('bring a Compose file up; of a changed file, apply the difference')
    .option('-f, --file <file>', 'Compose file; several are merged in this order', collect)
    .option('-p, --project-name <name>', 'name of the project', process.env['COMPOSE_PROJECT_NAME'])
    .option('-d, --detach', 'return when everything is up, instead of following the logs')
    .option('--remove-orphans', 'remove containers of services that the file no longer has')
    .option('--wait', 'return when every container with a healthcheck is healthy; implies -d')
    .option('--timeout <seconds>', 'how long to wait for dependencies and for health', '120')
    .addHelpText('after', example('portolan up -d -f examples/shop.yaml'))
    .action(async (options: UpOptions, command: Command) => {
      const request = readUpRequest(options)
      await ensureDaemon(pathsFor(command))
      const isAttached = options.detach !== true && options.wait !== true
      await withClient(command, client =>
        isAttached
          ? stayAttached(client, request)
          : client.stream('POST', '/v1/projects', request, printProgress),
      )
    })
}

/** What `up` sends for the given options: the files' text, the environment, where they are. */
export function readUpRequest(options: {
  readonly file?: readonly string[]
  readonly projectName?: string
  readonly removeOrphans?: boolean
  readonly wait?: boolean
  readonly timeout?: string
}): UpRequest {
  const paths = options.file ?? [findComposeFile(process.cwd())]
  const files = paths.map(path => ({ path, text: readComposeFile(path) }))
  const timeoutSeconds = parseSeconds('--timeout', options.timeout ?? '120', 0.001)
  return {
    files,
    environment: definedEntries(process.env),
    directory: dirname(resolve(paths[0] ?? '.')),
    ...(options.projectName !== undefined && { projectName: options.projectName }),
    removeOrphans: options.removeOrphans ?? false,
    isWaiting: options.wait ?? false,
    timeoutSeconds,
  }
}

/** Up, then the project's logs until Ctrl-C, which takes it down whenever it comes. */
async function stayAttached(client: Client, request: UpRequest): Promise<void> {
  const { name } = await client.call<{ name: string }>('POST', '/v1/projects/name', request)
  const interrupted = new AbortController()
  process.once('SIGINT', () => interrupted.abort())
  process.once('SIGTERM', () => interrupted.abort())
  const { signal } = interrupted
  const isAborted = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()))
  const up = client.stream('POST', '/v1/projects', request, printProgress)
  await Promise.race([up, isAborted])
  // Taken down below, it ends with an error of its own that says no more than that.
  if (signal.aborted) up.catch(() => undefined)
  else {
    const containers = await client.call<readonly ContainerView[]>('GET', '/v1/containers')
    const mine = containers.filter(container => container.project === name)
    printLine('Ctrl-C takes it down')
    await followLogs(
      client,
      mine.map(container => container.name),
      { signal },
    )
  }
  // The logs also end when somebody else took it down.
  if (signal.aborted) await takeDown(client, name)
}

async function takeDown(client: Client, name: string): Promise<void> {
  try {
    await client.stream('DELETE', `/v1/projects/${segment(name)}`, undefined, printProgress)
  } catch (error) {
    const code = errorCode(error)
    if (code !== 'PROJECT_NOT_FOUND' && code !== 'CLIENT_NO_DAEMON') throw error
  }
}

function findComposeFile(start: string): string {
  for (let directory = start; ; directory = dirname(directory)) {
    const found = defaultFiles.map(name => join(directory, name)).find(path => existsSync(path))
    if (found !== undefined) return found
    if (directory === dirname(directory)) break
  }
  throw new UsageError(`No ${defaultFiles.join(', ')} here or above; name a file with -f`)
}

function readComposeFile(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8')
  } catch (error) {
    throw new UsageError(
      `Cannot read "${path}": ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

function definedEntries(environment: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, value]],
    ),
  )
}
