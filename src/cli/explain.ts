/** `portolan explain`: why a container gets the answer it gets. */

import type { Command } from 'commander'
import type { ExplainReply } from '../api/contract.js'
import { example, printJson, printLine, withClient } from './context.js'

interface ExplainOptions {
  readonly from: string
  readonly json?: true
}

export function addExplainCommand(program: Command): void {
  program
    .command('explain')
    .description(
      'tell which network answers a name for a container, from which record, owned by whom',
    )
    .argument('<name>')
    .argument('[type]', 'record type', 'A')
    .requiredOption('--from <container>', 'the container that asks')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan explain --from shop-api-1 web'))
    .action((name: string, type: string, options: ExplainOptions, command: Command) =>
      withClient(command, async client => {
        const query = new URLSearchParams({ from: options.from, name, type })
        const reply = await client.call<ExplainReply>('GET', `/v1/dns/explain?${query}`)
        if (options.json) return printJson(reply)
        reply.lines.forEach(printLine)
      }),
    )
}
