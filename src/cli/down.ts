/** `portolan down`: a project goes, and leaves nothing. */

import type { Command } from 'commander'
import { collect, example, parseSeconds, segment, withClient } from './context.js'
import { printProgress } from './progress.js'
import { chooseProject } from './project.js'

interface DownOptions {
  readonly file?: readonly string[]
  readonly projectName?: string
  readonly timeout?: string
}

export function addDownCommand(program: Command): void {
  program
    .command('down')
    .description('stop and remove the containers and networks of a project')
    .option('-f, --file <file>', 'Compose file of the project', collect)
    .option('-p, --project-name <name>', 'name of the project', process.env['COMPOSE_PROJECT_NAME'])
    .option('-t, --timeout <seconds>', "grace period before SIGKILL, in place of the services' own")
    .addHelpText('after', example('portolan down', 'portolan down -p shop'))
    .action((options: DownOptions, command: Command) =>
      withClient(command, async client => {
        const name = await chooseProject(client, options)
        const query =
          options.timeout === undefined
            ? ''
            : `?timeout=${parseSeconds('--timeout', options.timeout)}`
        await client.stream(
          'DELETE',
          `/v1/projects/${segment(name)}${query}`,
          undefined,
          printProgress,
        )
      }),
    )
}
