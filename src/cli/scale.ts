/** `portolan scale`: another number of replicas. */

import type { Command } from 'commander'
import { collect, example, segment, UsageError, withClient } from './context.js'
import { printProgress } from './progress.js'
import { chooseProject } from './project.js'

interface ScaleOptions {
  readonly file?: readonly string[]
  readonly projectName?: string
}

export function addScaleCommand(program: Command): void {
  program
    .command('scale')
    .description('set how many replicas services have')
    .argument('<service=number...>', 'what to set, such as web=5')
    .option('-f, --file <file>', 'Compose file of the project', collect)
    .option('-p, --project-name <name>', 'name of the project', process.env['COMPOSE_PROJECT_NAME'])
    .addHelpText('after', example('portolan scale web=5 api=2'))
    .action((targets: readonly string[], options: ScaleOptions, command: Command) => {
      const replicas = Object.fromEntries(targets.map(parseTarget))
      return withClient(command, async client => {
        const name = await chooseProject(client, options)
        const path = `/v1/projects/${segment(name)}/scale`
        await client.stream('POST', path, { replicas }, printProgress)
      })
    })
}

function parseTarget(target: string): [string, number] {
  const match = /^([^=]+)=(\d+)$/.exec(target)
  if (match?.[1] === undefined) {
    throw new UsageError(`"${target}" is not SERVICE=NUMBER, such as web=5`)
  }
  return [match[1], Number(match[2])]
}
