/** `portolan status`: version, kernel features, dataplane and health of the daemon. */

import type { Command } from 'commander'
import type { StatusReply } from '../api/contract.js'
import { example, printJson, printLine, withClient } from './context.js'
import { formatTable } from './table.js'

export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('tell version, kernel features, dataplane and health of the daemon')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan status', 'portolan --root /tmp/p status --json'))
    .action((options: { json?: true }, command: Command) =>
      withClient(command, async client => {
        const status = await client.call<StatusReply>('GET', '/v1/status')
        if (options.json) printJson(status)
        else printLine(formatStatus(status))
        if (status.health !== 'ok') process.exitCode = 1
      }),
    )
}

/** The text of `status`. */
export function formatStatus(status: StatusReply): string {
  const { counts, resolver } = status
  const megabytes = Math.round(status.memoryBytes / 1_000_000)
  const kernel = status.kernel.map(({ name, isAvailable, detail }) => [
    `  ${name}`,
    isAvailable ? 'yes' : 'no',
    detail,
  ])
  const upstreams = resolver.upstreams.map(upstream => [
    `  ${upstream.address}`,
    upstream.isHealthy ? 'up' : 'down',
    upstream.roundTripMs === undefined ? '-' : `${upstream.roundTripMs.toFixed(1)} ms`,
    `${upstream.answered} answered, ${upstream.failed} failed`,
  ])
  return [
    `portolan ${status.version}, pid ${status.pid}, since ${status.startedAt}, ${megabytes} MB`,
    `health: ${status.health}`,
    ...status.problems.map(problem => `  ${problem}`),
    `dataplane: ${status.dataplane.reason}`,
    `networks: ${counts.networks}, containers: ${counts.running} of ${counts.containers} running`,
    `resolver: ${resolver.answered} answered, ${resolver.forwarded} forwarded, ${resolver.dropped} dropped`,
    ...(upstreams.length === 0
      ? ['upstreams: none']
      : ['upstreams:', formatTable(['  ADDRESS', 'STATE', 'RTT', 'QUERIES'], upstreams)]),
    'kernel:',
    formatTable(['  FEATURE', 'HERE', 'DETAIL'], kernel),
  ].join('\n')
}
