/** Compose files of replicas that say whom they see (test/fixtures/replica.ts), and who they are. */

import { fileURLToPath } from 'node:url'
import type { ContainerView, MeshPortView, MeshReply } from '../../src/api/contract.js'
import type { Host } from './host.js'

const program = fileURLToPath(new URL('../fixtures/replica.js', import.meta.url))

/** `command` of a replica, as flow YAML. */
export function replica(...words: readonly string[]): string {
  return `[${[process.execPath, program, ...words].map(word => JSON.stringify(word)).join(', ')}]`
}

/** Brings a Compose file up and waits until each replica with a healthcheck or a probe is ready. */
export async function bringUp(host: Host, name: string, text: string): Promise<string> {
  const path = host.writeFile(`${name}.yaml`, text)
  await host.run('up', '-d', '-f', path)
  return path
}

/** Containers of a service, by number. */
export async function replicasOf(host: Host, service: string): Promise<readonly ContainerView[]> {
  const all = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
  return all
    .filter(one => one.service === service)
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
}

/** What a replica calls itself. */
export function hostName({ id }: Pick<ContainerView, 'id'>): string {
  return id.slice(0, 12)
}

/** The address of a container on its first network. */
export function addressOf({ endpoints }: ContainerView, family: 4 | 6 = 4): string {
  const cidr = family === 4 ? endpoints[0]?.ipv4 : endpoints[0]?.ipv6
  return cidr?.split('/')[0] ?? ''
}

/** The published port as `mesh ls` shows it. */
export async function meshPort(host: Host, published: number): Promise<MeshPortView> {
  const { ports } = await host.api.call<MeshReply>('GET', '/v1/mesh')
  const found = ports.find(one => one.published === published)
  if (found === undefined) throw new Error(`Port ${published} is not published`)
  return found
}

/** Waits until every replica of the port serves and is ready, `count` of them. */
export async function untilServing(host: Host, published: number, count: number): Promise<void> {
  await until(`${count} replicas serve port ${published}`, async () => {
    const { replicas } = await meshPort(host, published)
    return replicas.filter(one => one.isServing && one.state === 'ready').length === count
  })
}

/** Waits for a condition. Rejects after the deadline, with what was waited for. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<number> {
  const startedAt = performance.now()
  for (;;) {
    if (await isSo()) return performance.now() - startedAt
    if (performance.now() - startedAt > timeoutMs) throw new Error(`It never happened that ${what}`)
    await new Promise(resolve => setTimeout(resolve, pollMs))
  }
}

const pollMs = 10
