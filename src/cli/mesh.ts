/** `portolan mesh`: where connections go, and why. */

import type { Command } from 'commander'
import type { MeshPortView, MeshReply, TraceReply } from '../api/contract.js'
import { example, printJson, printLine, UsageError, withClient } from './context.js'
import { formatPort } from './services.js'
import { formatTable } from './table.js'

interface JsonOption {
  readonly json?: true
}

export function addMeshCommand(program: Command): void {
  const mesh = program
    .command('mesh')
    .description('where connections to published ports go')
    .addHelpText('after', example('portolan mesh ls', 'portolan mesh trace 8080'))
  mesh
    .command('ls')
    .description('list published ports, their virtual addresses and their replicas')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan mesh ls --json'))
    .action((options: JsonOption, command: Command) =>
      withClient(command, async client => {
        const reply = await client.call<MeshReply>('GET', '/v1/mesh')
        if (options.json) return printJson(reply)
        printLine(formatMesh(reply.ports))
        printLine(`\nDataplane: ${reply.dataplane.reason}`)
      }),
    )
  mesh
    .command('trace')
    .description('say hop by hop what happens to a new connection here, as the kernel has it now')
    .argument('<port>', 'a published port, such as 8080 or 53/udp')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan mesh trace 8080', 'portolan mesh trace 53/udp'))
    .action((port: string, options: JsonOption, command: Command) => {
      const path = `/v1/mesh/trace?${queryOf(port)}`
      return withClient(command, async client => {
        const reply = await client.call<TraceReply>('GET', path)
        if (options.json) return printJson(reply)
        const { hops, service, protocol } = reply
        printLine(`A new connection to ${reply.port}/${protocol} of this node, for ${service}:`)
        hops.forEach(({ where, what }, i) => printLine(`${i + 1}. ${where}: ${what}`))
      })
    })
}

function queryOf(port: string): string {
  const [, digits, protocol] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(port) ?? []
  const number = Number(digits)
  if (digits === undefined || number < 1 || number > 65_535) {
    throw new UsageError(`"${port}" is not a port from 1 to 65535, such as 8080 or 53/udp`)
  }
  return `port=${number}${protocol === undefined ? '' : `&protocol=${protocol}`}`
}

/** One line a replica; what it shares with the one above is left out. */
export function formatMesh(ports: readonly MeshPortView[]): string {
  const rows = ports.flatMap(port => {
    const head = [
      formatPort(port),
      `${port.project}/${port.service}`,
      port.vips.join(' ') || '-',
      port.scheduler,
    ]
    if (port.replicas.length === 0) return [[...head, '-', '-', 'no replica', '-', '-', '-']]
    return port.replicas.map((replica, i) => [
      ...(i === 0 ? head : ['', '', '', '']),
      replica.name,
      String(replica.weight),
      replica.reason === undefined ? replica.state : `${replica.state}: ${replica.reason}`,
      String(replica.activeConnections),
      formatBytes(replica.inBytes),
      formatBytes(replica.outBytes),
    ])
  })
  const header = ['PUBLISHED', 'SERVICE', 'VIRTUAL ADDRESS', 'SCHEDULER', 'REPLICA']
  return formatTable([...header, 'WEIGHT', 'STATE', 'ACTIVE', 'IN', 'OUT'], rows)
}

const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** `1.5 MB`; a dash where nobody counts. */
export function formatBytes(digits: string | undefined): string {
  if (digits === undefined) return '-'
  let value = Number(digits)
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
