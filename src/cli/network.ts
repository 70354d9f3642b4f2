/** `portolan network`: networks and who is on them. */

import type { Command } from 'commander'
import type { ConnectRequest, CreateNetworkRequest, NetworkView } from '../api/contract.js'
import {
  collect,
  example,
  printJson,
  printLine,
  segment,
  UsageError,
  withClient,
} from './context.js'
import { formatTable } from './table.js'

interface JsonOption {
  readonly json?: true
}

interface CreateOptions {
  readonly driver?: string
  readonly subnet?: string[]
  readonly gateway?: string[]
  readonly ipRange?: string[]
  readonly auxAddress?: string[]
  readonly ipv6?: true
  readonly internal?: true
  readonly opt?: string[]
  readonly label?: string[]
}

interface ConnectOptions {
  readonly alias?: string[]
  readonly ip?: string
  readonly ip6?: string
  readonly gwPriority?: string
}

export function addNetworkCommand(program: Command): void {
  const network = program
    .command('network')
    .description('manage networks')
    .addHelpText(
      'after',
      example('portolan network create --subnet 10.20.0.0/24 lab', 'portolan network ls'),
    )
  addListing(network)
  addCreation(network)
  addMembership(network)
}

function addListing(network: Command): void {
  network
    .command('ls')
    .description('list networks')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan network ls --json'))
    .action((options: JsonOption, command: Command) =>
      withClient(command, async client => {
        const networks = await client.call<readonly NetworkView[]>('GET', '/v1/networks')
        if (options.json) printJson(networks)
        else printLine(formatNetworks(networks))
      }),
    )
  network
    .command('inspect')
    .description('show networks whole, as JSON')
    .argument('<network...>')
    .option('--json', 'print JSON (it always is)')
    .addHelpText('after', example('portolan network inspect shop_front'))
    .action((names: readonly string[], _options: JsonOption, command: Command) =>
      withClient(command, async client => {
        const found: NetworkView[] = []
        for (const name of names) {
          found.push(await client.call<NetworkView>('GET', `/v1/networks/${segment(name)}`))
        }
        printJson(found)
      }),
    )
}

function addCreation(network: Command): void {
  network
    .command('create')
    .description('make a network')
    .argument('<network>')
    .option('-d, --driver <driver>', 'driver', 'bridge')
    .option('--subnet <cidr>', 'subnets, one a family; default: the next free pool', collect)
    .option('--gateway <address>', 'gateways of the subnets', collect)
    .option('--ip-range <cidr>', 'where in the subnets addresses are chosen', collect)
    .option('--aux-address <name=address>', 'addresses that something else uses', collect)
    .option('--ipv6', 'IPv6 too; a unique-local subnet where none is given')
    .option('--internal', 'no way out')
    .option('-o, --opt <key=value>', 'driver options, such as mtu=1400 or icc=false', collect)
    .option('--label <key=value>', 'labels', collect)
    .addHelpText('after', example('portolan network create --subnet 10.20.0.0/24 --ipv6 lab'))
    .action((name: string, options: CreateOptions, command: Command) =>
      withClient(command, async client => {
        const request: CreateNetworkRequest = {
          name,
          ...(options.driver !== undefined && { driver: options.driver }),
          subnets: options.subnet ?? [],
          gateways: options.gateway ?? [],
          ipRanges: options.ipRange ?? [],
          auxAddresses: parsePairs('--aux-address', options.auxAddress),
          hasIpv6: options.ipv6 ?? false,
          isInternal: options.internal ?? false,
          options: parsePairs('--opt', options.opt),
          labels: parsePairs('--label', options.label),
        }
        printLine((await client.call<NetworkView>('POST', '/v1/networks', request)).id)
      }),
    )
  network
    .command('rm')
    .description('remove networks that nobody is on')
    .argument('<network...>')
    .addHelpText('after', example('portolan network rm lab'))
    .action((names: readonly string[], _options: object, command: Command) =>
      withClient(command, async client => {
        for (const name of names) {
          await client.call('DELETE', `/v1/networks/${segment(name)}`)
          printLine(name)
        }
      }),
    )
  network
    .command('prune')
    .description('remove every network that nobody is on and no project declares')
    .addHelpText('after', example('portolan network prune'))
    .action((_options: object, command: Command) =>
      withClient(command, async client => {
        const { removed } = await client.call<{ removed: readonly string[] }>(
          'POST',
          '/v1/networks/prune',
        )
        removed.forEach(printLine)
      }),
    )
}

function addMembership(network: Command): void {
  network
    .command('connect')
    .description('attach a running container to a network')
    .argument('<network>')
    .argument('<container>')
    .option('--alias <name>', 'further names on this network', collect)
    .option('--ip <address>', 'IPv4 address')
    .option('--ip6 <address>', 'IPv6 address')
    .option('--gw-priority <number>', 'the highest one is the default route')
    .addHelpText('after', example('portolan network connect --alias cache lab shop-db-1'))
    .action((name: string, container: string, options: ConnectOptions, command: Command) => {
      const priority = Number(options.gwPriority ?? 0)
      if (!Number.isInteger(priority)) {
        throw new UsageError(`--gw-priority "${options.gwPriority}" is not a whole number`)
      }
      const request: ConnectRequest = {
        container,
        aliases: options.alias ?? [],
        ...(options.ip !== undefined && { ipv4: options.ip }),
        ...(options.ip6 !== undefined && { ipv6: options.ip6 }),
        gatewayPriority: priority,
      }
      return withClient(command, client =>
        client.call('POST', `/v1/networks/${segment(name)}/connect`, request),
      )
    })
  network
    .command('disconnect')
    .description('detach a running container from a network')
    .argument('<network>')
    .argument('<container>')
    .addHelpText('after', example('portolan network disconnect lab shop-db-1'))
    .action((name: string, container: string, _options: object, command: Command) =>
      withClient(command, client =>
        client.call('POST', `/v1/networks/${segment(name)}/disconnect`, { container }),
      ),
    )
}

/** The table of `network ls`. */
export function formatNetworks(networks: readonly NetworkView[]): string {
  const rows = networks.map(network => [
    network.name,
    network.driver,
    network.subnets.map(({ subnet }) => subnet).join(' ') || '-',
    String(network.containers.length),
    [
      ...(network.isInternal ? ['internal'] : []),
      ...(network.hasNames ? ['names'] : []),
      ...(network.isBuiltin ? ['builtin'] : []),
    ].join(', '),
  ])
  return formatTable(['NAME', 'DRIVER', 'SUBNETS', 'CONTAINERS', 'FLAGS'], rows)
}

function parsePairs(option: string, pairs: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    pairs.map(pair => {
      const at = pair.indexOf('=')
      if (at < 1) throw new UsageError(`${option} "${pair}" is not KEY=VALUE`)
      return [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
}
