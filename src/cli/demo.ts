/** `portolan demo`: a Compose file comes up, shows what it does, and goes with Ctrl-C. `npm start`. */

import type { Command } from 'commander'
import type {
  ContainerView,
  DigReply,
  NetworkView,
  PublishedPortView,
  ServiceView,
} from '../api/contract.js'
import { errorMessage } from '../base/error.js'
import { ensureDaemon } from './background.js'
import type { Client } from './client.js'
import { example, pathsFor, printLine, segment, withClient } from './context.js'
import { formatNetworks } from './network.js'
import { printProgress } from './progress.js'
import { formatContainers } from './ps.js'
import { formatServices } from './services.js'
import { readUpRequest } from './up.js'

interface DemoOptions {
  readonly file: string
}

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('bring an example up, show its names and ports, and take it down with Ctrl-C')
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
          printLine('  npx portolan exec shop-api-1 -- curl -s http://web/')
          printLine('  npx portolan mesh ls')
          printLine('  npx portolan mesh trace 8080')
          printLine('  npx portolan scale web=5')
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
    ['shop-api-1', 'web', 'a service: its virtual address, which the kernel balances'],
    ['shop-api-1', 'www', 'an alias of it'],
    ['shop-api-1', 'tasks.web', 'its replicas, in another order each time'],
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
  const all = await client.call<readonly ServiceView[]>('GET', '/v1/services')
  const services = all.filter(one => one.project === project)
  printLine(`\n${formatServices(services)}\n`)
  for (const port of services.flatMap(({ ports }) => ports)) await knock(port)
}

const knocks = 4

/** What a client on this host gets at a published port, by new connections. */
async function knock({ published, protocol }: PublishedPortView): Promise<void> {
  if (protocol !== 'tcp') return
  for (const host of ['127.0.0.1', '[::1]']) {
    const url = `http://${host}:${published}/`
    for (let i = 0; i < (host === '[::1]' ? 1 : knocks); i++) {
      try {
        const reply = await fetch(url, { headers: { connection: 'close' } })
        printLine(`${url} answers: ${(await reply.text()).trim()}`)
      } catch (error) {
        printLine(`${url} does not answer: ${errorMessage(error)}`)
      }
    }
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
