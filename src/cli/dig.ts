/** `portolan dig`: the answer a container gets, without dig installed. */

import type { Command } from 'commander'
import type { DigReply, RecordView } from '../api/contract.js'
import { example, printJson, printLine, withClient } from './context.js'

interface DigOptions {
  readonly from: string
  readonly tcp?: true
  readonly short?: true
  readonly json?: true
}

export function addDigCommand(program: Command): void {
  program
    .command('dig')
    .description('ask the resolver of a container, over its own socket at 127.0.0.11')
    .argument('<name>')
    .argument('[type]', 'record type', 'A')
    .requiredOption('--from <container>', 'the container that asks')
    .option('--tcp', 'ask over TCP')
    .option('--short', 'print the data of the answers only')
    .option('--json', 'print JSON')
    .addHelpText('after', example('portolan dig --from shop-api-1 web AAAA'))
    .action((name: string, type: string, options: DigOptions, command: Command) =>
      withClient(command, async client => {
        const query = new URLSearchParams({ from: options.from, name, type })
        if (options.tcp) query.set('tcp', 'true')
        const reply = await client.call<DigReply>('GET', `/v1/dns/query?${query}`)
        if (options.json) return printJson(reply)
        if (options.short) return reply.answers.forEach(answer => printLine(answer.data))
        printLine(formatReply(reply))
      }),
    )
}

/** A reply in dig's order: header, question, sections. */
export function formatReply(reply: DigReply): string {
  const { question, rcode, flags } = reply
  const lines = [
    `;; status: ${rcode}, flags: ${flags.join(' ')}`,
    `;; question: ${question.name} ${question.type}`,
  ]
  for (const [title, records] of [
    ['answer', reply.answers],
    ['authority', reply.authorities],
    ['additional', reply.additionals],
  ] as const) {
    if (records.length > 0) lines.push(`;; ${title}:`, ...records.map(formatRecord))
  }
  lines.push(`;; ${reply.bytes} bytes in ${reply.milliseconds.toFixed(1)} ms`)
  return lines.join('\n')
}

function formatRecord(record: RecordView): string {
  return [record.name, record.ttl, record.class, record.type, record.data].join('\t')
}
