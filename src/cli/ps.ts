/** `portolan ps`: containers with their networks, addresses and state. */

import type { Command } from 'commander'
import type { ContainerView } from '../api/contract.js'
import { example, printJson, printLine, withClient } from './context.js'
import { formatTable } from './table.js'

interface PsOptions {
  readonly projectName?: string
  readonly json?: true
}

export function addPsCommand(program: Command): void {
  program
    .command('ps')
    .description('list containers: name, service, state, networks and addresses')
    .option('-p, --project-name <name>', 'only of this project')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan ps', 'portolan ps --json'))
    .action((options: PsOptions, command: Command) =>
      withClient(command, async client => {
        const all = await client.call<readonly ContainerView[]>('GET', '/v1/containers')
        const containers = all.filter(
          ({ project }) => options.projectName === undefined || project === options.projectName,
        )
        if (options.json) return printJson(containers)
        printLine(formatContainers(containers))
      }),
    )
}

/** The table of `ps`. */
export function formatContainers(containers: readonly ContainerView[]): string {
  const rows = containers.map(container => [
    container.name,
    container.service ?? '-',
    describeState(container),
    formatEndpoints(container),
  ])
  return formatTable(['NAME', 'SERVICE', 'STATE', 'NETWORKS'], rows)
}

function describeState(container: ContainerView): string {
  const { state, health, exitCode, failure } = container
  if (failure !== undefined && state !== 'running') return `${state} (${failure})`
  if (state === 'exited' && exitCode !== undefined) return `exited (${exitCode})`
  const marks = [
    ...(health === 'none' ? [] : [health]),
    ...(state === 'running' && container.isReady === false ? ['not ready'] : []),
    ...(container.isDraining ? ['draining'] : []),
  ]
  return marks.length === 0 ? state : `${state} (${marks.join(', ')})`
}

function formatEndpoints({ endpoints, networkMode }: ContainerView): string {
  if (endpoints.length === 0) return networkMode === 'networks' ? 'none' : networkMode
  return endpoints
    .map(({ network, ipv4, ipv6 }) => {
      const addresses = [ipv4, ipv6].flatMap(cidr => cidr?.split('/')[0] ?? [])
      return `${network} ${addresses.join(' ')}`
    })
    .join(', ')
}
