/** `portolan start`, `stop`, `restart`, `rename`: one container of a project. */

import type { Command } from 'commander'
import { example, parseSeconds, printLine, segment, withClient } from './context.js'

export function addContainerCommands(program: Command): void {
  program
    .command('start')
    .description('start stopped containers')
    .argument('<container...>')
    .addHelpText('after', example('portolan start shop-web-2'))
    .action((names: readonly string[], _options: object, command: Command) =>
      each(command, names, ['start'], ''),
    )
  for (const [verb, steps] of [
    ['stop', ['stop']],
    ['restart', ['stop', 'start']],
  ] as const) {
    program
      .command(verb)
      .description(`${verb} containers; their names leave DNS before the stop signal`)
      .argument('<container...>')
      .option('-t, --timeout <seconds>', 'grace period before SIGKILL')
      .addHelpText('after', example(`portolan ${verb} shop-web-2`))
      .action((names: readonly string[], options: { timeout?: string }, command: Command) => {
        const query =
          options.timeout === undefined
            ? ''
            : `?timeout=${parseSeconds('--timeout', options.timeout)}`
        return each(command, names, steps, query)
      })
  }
  program
    .command('rename')
    .description('give a container another name; DNS follows at once')
    .argument('<container>')
    .argument('<name>')
    .addHelpText('after', example('portolan rename shop-web-2 web-canary'))
    .action((container: string, name: string, _options: object, command: Command) =>
      withClient(command, client =>
        client.call('POST', `/v1/containers/${segment(container)}/rename`, { name }),
      ),
    )
}

async function each(
  command: Command,
  names: readonly string[],
  steps: readonly string[],
  query: string,
): Promise<void> {
  await withClient(command, async client => {
    for (const name of names) {
      for (const step of steps) {
        await client.call('POST', `/v1/containers/${segment(name)}/${step}${query}`)
      }
      printLine(name)
    }
  })
}
