/** `portolan demo`: a Compose file comes up, shows what it does, and goes with Ctrl-C. `npm start`. */

import type { Command } from 'commander'
import type { ContainerView, DigReply, NetworkView } from '../api/contract.js'
import { ensureDaemon } from './background.js'
import type { Client } from './client.js'
import { example, pathsFor, printLine, segment, withClient } from './context.js'
import { formatNetworks } from './network.js'
import { printProgress } from './progress.js'
import { formatContainers } from './ps.js'
import { readUpRequest } from './up.js'

interface DemoOptions {
  readonly file: string
}

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('bring an example up, show its names being resolved, and take it down with Ctrl-C')
    .option('-f, --file <file>', 'Compose file', 'examples/shop.yaml')
    .addHelpText('after', example('portolan demo'))
    .action(async (options: DemoOptions, command: Command) => {
      const request = readUpRequest({ file: [options.file], wait: true })
      await ensureDaemon(pathsFor(command))
      const interrupted = waitForInterrupt()
      await withClient(command, async client => {
        const { name } = await client.call<{ name: string }>('POST', '/v1/projects/name', request)
        try {
          await client.stream('POST', '/v1/projects', request, printProgress)
          await show(client, name)
          printLine('\nIn a second terminal:')
          printLine('  npx portolan ps')
          printLine('  npx portolan explain --from shop-api-1 web')
          printLine('Ctrl-C takes everything down.')
          await interrupted
        } finally {
          await client.stream('DELETE', `/v1/projects/${segment(name)}`, undefined, printProgress)
        }
      })
    })
}

async function show(client: Client, project: string): Promise<void> {
  const networks = await client.call<readonly NetworkView[]>('GET', '/v1/networks')
  const containers = await client.call<readonly ContainerView[]>('GET', '/v1/containers')
  printLine(`\n${formatNetworks(networks.filter(network => network.project === project))}`)
  printLine(`\n${formatContainers(containers.filter(one => one.project === project))}\n`)
  const questions = [
    ['shop-api-1', 'web', 'a service: every replica, in another order each time'],
    ['shop-api-1', 'www', 'an alias'],
    ['shop-api-1', 'shop-web-1.shop_front', 'a container on a named network'],
    ['shop-web-1', 'db.shop_back', 'a name on a network that web is not on: refused'],
    ['shop-api-1', 'deb.debian.org', 'an outside name: forwarded'],
  ] as const
  for (const [from, name, what] of questions) {
    const query = new URLSearchParams({ from, name, type: 'A' })
    const reply = await client.call<DigReply>('GET', `/v1/dns/query?${query}`)
    const answers = reply.answers.map(({ data }) => data).join(' ')
    printLine(`${from} asks ${name} (${what})`)
    printLine(`  ${reply.rcode}${answers === '' ? '' : `: ${answers}`}`)
  }
}

function waitForInterrupt(): Promise<void> {
  return new Promise(resolve => {
    // A handler for a signal does not keep Node running; a timer does.
    const stay = setInterval(() => undefined, 60_000)
    const end = (): void => {
      clearInterval(stay)
      resolve()
    }
    process.once('SIGINT', end)
    process.once('SIGTERM', end)
  })
}
