/** `portolan exec`: any program of the host, inside a container's namespaces. */

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Command } from 'commander'
import type { ProcessView } from '../api/contract.js'
import { CodedError } from '../base/error.js'
import { collect, example, segment, UsageError, withClient } from './context.js'

interface ExecOptions {
  readonly env?: readonly string[]
}

export function addExecCommand(program: Command): void {
  program
    .command('exec')
    .description("run a program of the host inside a container's namespaces")
    .argument('<container>')
    .argument('<command...>')
    .option('-e, --env <key=value>', 'set environment variables', collect)
    .passThroughOptions()
    .addHelpText(
      'after',
      example('portolan exec shop-api-1 -- dig web', 'portolan exec shop-api-1 sh'),
    )
    .action(
      async (name: string, argv: readonly string[], options: ExecOptions, command: Command) => {
        const view = await withClient(command, client =>
          client.call<ProcessView>('GET', `/v1/containers/${segment(name)}/process`),
        )
        const words = argv[0] === '--' ? argv.slice(1) : argv
        if (words.length === 0) throw new UsageError('exec needs a command after the container')
        process.exitCode = await run(view, words, options.env ?? [])
      },
    )
}

function run(
  view: ProcessView,
  argv: readonly string[],
  extra: readonly string[],
): Promise<number> {
  const environment = { ...view.environment, ...parseEnvironment(extra) }
  const term = process.env['TERM']
  const child = spawn('nsenter', [...view.nsenter, '--', ...argv], {
    stdio: 'inherit',
    env: { ...(term !== undefined && { TERM: term }), ...environment },
  })
  // The terminal sends Ctrl-C to the whole group: the program decides what it means.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  return new Promise((resolve, reject) => {
    child.once('error', cause =>
      reject(
        new CodedError('EXEC_FAILED', `Cannot run nsenter: ${cause.message}; install util-linux`, {
          cause,
        }),
      ),
    )
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}

function parseEnvironment(entries: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    entries.map(entry => {
      const at = entry.indexOf('=')
      return at < 0 ? [entry, process.env[entry] ?? ''] : [entry.slice(0, at), entry.slice(at + 1)]
    }),
  )
}
