/** `portolan services` and `portolan service`: what is balanced, and how. */

import { Option, type Command } from 'commander'
import type {
  MeshReply,
  PublishedPortView,
  ServiceView,
  UpdateServiceRequest,
} from '../api/contract.js'
import {
  collect,
  example,
  parseSeconds,
  printJson,
  printLine,
  segment,
  UsageError,
  withClient,
} from './context.js'
import { printProgress } from './progress.js'
import { formatTable } from './table.js'

interface ListOptions {
  readonly projectName?: string
  readonly json?: true
}

interface UpdateOptions {
  readonly scheduler?: NonNullable<UpdateServiceRequest['scheduler']>
  readonly affinity?: NonNullable<UpdateServiceRequest['affinity']>
  readonly affinityTimeout?: string
  readonly weight?: readonly string[]
  readonly drain?: string
}

export function addServiceCommands(program: Command): void {
  program
    .command('services')
    .description('list services: virtual addresses, published ports, replicas ready of wanted')
    .option('-p, --project-name <name>', 'only of this project')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan services', 'portolan services --json'))
    .action((options: ListOptions, command: Command) =>
      withClient(command, async client => {
        const all = await client.call<readonly ServiceView[]>('GET', '/v1/services')
        const services = all.filter(
          ({ project }) => options.projectName === undefined || project === options.projectName,
        )
        if (options.json) return printJson(services)
        const { dataplane } = await client.call<MeshReply>('GET', '/v1/mesh')
        printLine(formatServices(services))
        printLine(`\nDataplane: ${dataplane.reason}`)
      }),
    )
  addUpdate(
    program
      .command('service')
      .description('change how a service is balanced')
      .addHelpText('after', example('portolan service update web --scheduler sh')),
  )
}

function addUpdate(service: Command): void {
  service
    .command('update')
    .description('change how connections are spread, until the next `up` of the file')
    .argument('<service>', 'NAME, or PROJECT/NAME')
    .addOption(
      new Option('--scheduler <name>', 'who gets the next connection').choices([
        ...['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'],
      ]),
    )
    .addOption(
      new Option('--affinity <kind>', 'whether a client stays with its replica').choices([
        'none',
        'client-ip',
      ]),
    )
    .option('--affinity-timeout <seconds>', 'how long after its last connection')
    .option('--weight <replica=weight>', 'share of a replica, such as 1=3', collect)
    .option('--drain <seconds>', 'how long connections of a leaving replica may go on')
    .addHelpText(
      'after',
      example(
        'portolan service update web --scheduler lc --affinity client-ip',
        'portolan service update shop/web --scheduler wrr --weight 1=3 --weight 2=1',
      ),
    )
    .action((name: string, options: UpdateOptions, command: Command) => {
      const request = requestOf(options)
      return withClient(command, client =>
        client.stream('POST', `/v1/services/${segment(name)}/update`, request, printProgress),
      )
    })
}

function requestOf(options: UpdateOptions): UpdateServiceRequest {
  const { scheduler, affinity, affinityTimeout, weight, drain } = options
  const request: UpdateServiceRequest = {
    ...(scheduler !== undefined && { scheduler }),
    ...(affinity !== undefined && { affinity }),
    ...(affinityTimeout !== undefined && {
      affinityTimeoutSeconds: Math.round(parseSeconds('--affinity-timeout', affinityTimeout, 1)),
    }),
    ...(weight !== undefined && { weights: Object.fromEntries(weight.map(parseWeight)) }),
    ...(drain !== undefined && { drainSeconds: parseSeconds('--drain', drain) }),
  }
  if (Object.keys(request).length > 0) return request
  throw new UsageError('Nothing to update: give --scheduler, --affinity, --weight or --drain')
}

function parseWeight(text: string): [string, number] {
  const [, number, weight] = /^([1-9]\d*)=(\d+)$/.exec(text) ?? []
  const value = Number(weight)
  if (number === undefined || value < 1 || value > 65_535) {
    throw new UsageError(
      `--weight "${text}" is not REPLICA=WEIGHT with a weight from 1 to 65535, such as 1=3`,
    )
  }
  return [number, value]
}

/** One line a service. */
export function formatServices(services: readonly ServiceView[]): string {
  const rows = services.map(service => {
    const { project, name, endpointMode, vips, ports, replicas, scheduler, affinity } = service
    return [
      `${project}/${name}`,
      endpointMode,
      vips
        .map(({ network, ipv4, ipv6 }) => [network, ipv4, ipv6].filter(Boolean).join(' '))
        .join(', ') || '-',
      ports.map(formatPort).join(', ') || '-',
      `${replicas.ready}/${replicas.wanted}`,
      affinity === 'none' ? scheduler : `${scheduler}, ${affinity}`,
    ]
  })
  return formatTable(['SERVICE', 'MODE', 'VIRTUAL ADDRESSES', 'PORTS', 'READY', 'SCHEDULER'], rows)
}

/** `127.0.0.1:8080->80/tcp`. */
export function formatPort(port: PublishedPortView): string {
  const { published, target, protocol, hostAddress, mode } = port
  const host = hostAddress?.includes(':') ? `[${hostAddress}]` : hostAddress
  const where = host === undefined ? `${published}` : `${host}:${published}`
  return `${where}->${target}/${protocol}${mode === 'host' ? ' (host)' : ''}`
}
