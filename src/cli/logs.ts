/** `portolan logs`: what containers printed. */

import type { Command } from 'commander'
import type { ContainerView } from '../api/contract.js'
import type { Client } from './client.js'
import { example, segment, UsageError, withClient } from './context.js'

interface LogsOptions {
  readonly follow?: true
  readonly tail?: string
}

export function addLogsCommand(program: Command): void {
  program
    .command('logs')
    .description('print the output of containers or services (stdout and stderr)')
    .argument('[name...]', 'containers or services; all where none is named')
    .option('-f, --follow', 'go on with what comes')
    .option('-n, --tail <lines>', 'only the last lines')
    .addHelpText('after', example('portolan logs -f web', 'portolan logs --tail 20 shop-api-1'))
    .action((names: readonly string[], options: LogsOptions, command: Command) =>
      withClient(command, async client => {
        if (options.tail !== undefined && !/^\d+$/.test(options.tail)) {
          throw new UsageError(`--tail "${options.tail}" is not a number of lines`)
        }
        const containers = await chooseContainers(client, names)
        if (options.follow !== true) {
          for (const name of containers) await copyLog(client, name, containers.length > 1, options)
          return
        }
        const interrupted = new AbortController()
        process.once('SIGINT', () => interrupted.abort())
        await followLogs(client, containers, { ...options, signal: interrupted.signal })
      }),
    )
}

/** Follows several logs at once, each line after its container's name, until `signal`. */
export async function followLogs(
  client: Client,
  names: readonly string[],
  options: { readonly tail?: string; readonly signal: AbortSignal },
): Promise<void> {
  await Promise.all(
    names.map(async name => {
      try {
        await copyLog(client, name, names.length > 1, { ...options, follow: true })
      } catch (error) {
        if (!options.signal.aborted) throw error
      }
    }),
  )
}

async function copyLog(
  client: Client,
  name: string,
  isPrefixed: boolean,
  options: { readonly follow?: true; readonly tail?: string; readonly signal?: AbortSignal },
): Promise<void> {
  const query = new URLSearchParams({ follow: String(options.follow === true) })
  if (options.tail !== undefined) query.set('tail', options.tail)
  const path = `/v1/containers/${segment(name)}/logs?${query}`
  const chunks = await client.bytes(path, options.signal)
  if (!isPrefixed) {
    for await (const chunk of chunks) process.stdout.write(chunk)
    return
  }
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) process.stdout.write(`${name} | ${line}\n`)
  }
  if (rest !== '') process.stdout.write(`${name} | ${rest}\n`)
}

async function chooseContainers(client: Client, names: readonly string[]): Promise<string[]> {
  const all = await client.call<readonly ContainerView[]>('GET', '/v1/containers')
  if (names.length === 0) return all.map(container => container.name)
  return names.flatMap(name => {
    const replicas = all.filter(container => container.service === name)
    // An unknown name goes to the daemon as it is: its answer says what there is.
    return replicas.length > 0 ? replicas.map(container => container.name) : [name]
  })
}
