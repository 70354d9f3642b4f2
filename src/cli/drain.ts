/** `portolan drain`: no new connections to a container, established ones go on for a while. */

import type { Command } from 'commander'
import type { DrainRequest } from '../api/contract.js'
import { example, parseSeconds, segment, withClient } from './context.js'
import { printProgress } from './progress.js'

interface DrainOptions {
  readonly timeout?: string
  readonly undo?: true
}

export function addDrainCommand(program: Command): void {
  program
    .command('drain')
    .description(
      'send no new connections to containers; established ones go on until done or the time is up',
    )
    .argument('<container...>')
    .option('-t, --timeout <seconds>', 'reset what is left after this; default: as declared')
    .option('--undo', 'send connections again')
    .addHelpText('after', example('portolan drain shop-web-2', 'portolan drain --undo shop-web-2'))
    .action((names: readonly string[], options: DrainOptions, command: Command) => {
      const request: DrainRequest = {
        isUndone: options.undo ?? false,
        ...(options.timeout !== undefined && {
          timeoutSeconds: parseSeconds('--timeout', options.timeout),
        }),
      }
      return withClient(command, async client => {
        for (const name of names) {
          const path = `/v1/containers/${segment(name)}/drain`
          await client.stream('POST', path, request, printProgress)
        }
      })
    })
}
