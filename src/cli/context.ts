/** What every command shares: where the daemon is, how to print, how to end. */

import type { Command } from 'commander'
import { CodedError } from '../base/error.js'
import { pathsOf, type Paths } from '../api/paths.js'
import { Client } from './client.js'

/** The command line itself is wrong: exit code 2. */
export class UsageError extends CodedError<'USAGE'> {
  constructor(message: string) {
    super('USAGE', message)
  }
}

export interface GlobalOptions {
  readonly root?: string
}

/** Paths of the daemon that `--root` (or PORTOLAN_ROOT) names. */
export function pathsFor(command: Command): Paths {
  const { root } = command.optsWithGlobals<GlobalOptions>()
  return pathsOf(root)
}

/** Runs `body` with a client of the daemon and closes it whatever happens. */
export async function withClient<T>(
  command: Command,
  body: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client(pathsFor(command).socket)
  try {
    return await body(client)
  } finally {
    await client.close()
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

export function printLine(line: string): void {
  process.stdout.write(`${line}\n`)
}

/**
 * The values of an option that may be given several times. One value each: `--alias NAME...` would
 * take the arguments behind it too.
 */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value]
}

/** A number of seconds above 0, or 0 where that is allowed. Throws UsageError. */
export function parseSeconds(option: string, text: string, least = 0): number {
  const seconds = Number(text)
  if (text.trim() !== '' && Number.isFinite(seconds) && seconds >= least) return seconds
  throw new UsageError(`${option} "${text}" is not a number of seconds`)
}

/** An example for `--help`. */
export function example(...lines: readonly string[]): string {
  return `\nExample:\n${lines.map(line => `  ${line}`).join('\n')}`
}

/** Text as one segment of a path. */
export function segment(text: string): string {
  return encodeURIComponent(text)
}
