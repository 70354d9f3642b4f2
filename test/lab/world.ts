/** World W on a host of its own: the Compose file of test/fixtures, its 45 further containers, brought up. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { openHost, type Host, type HostOptions } from './host.js'

/** The 45 addresses behind the alias `many` on net1. */
export const manyAddresses = Array.from({ length: 45 }, (_, i) => `172.30.1.${101 + i}`)

/** A host on which world W runs, for the length of `t`. `isMany` adds m1 to m45. */
export async function openWorld(
  t: Test,
  options: HostOptions & { readonly isMany?: boolean } = {},
): Promise<Host> {
  const host = await openHost(t, options)
  const files = ['-f', fixturePath('world.yaml')]
  if (options.isMany === true) files.push('-f', host.writeFile('many.yaml', composeMany()))
  await host.run('up', '-d', ...files)
  return host
}

/** A host with the services of world W, from services.yaml. */
export async function openServices(t: Test): Promise<Host> {
  const host = await openHost(t)
  await upServices(host)
  return host
}

/** Brings services.yaml up (again), after `edit`. */
export async function upServices(host: Host, edit = (text: string): string => text): Promise<void> {
  const text = readFileSync(fixturePath('services.yaml'), 'utf8').replaceAll('${LAB}', host.root)
  const path = host.writeFile('services.yaml', edit(text))
  await host.run('up', '-d', '--remove-orphans', '-f', path)
}

/** A file of test/fixtures, from wherever the build went. */
export function fixturePath(name: string): string {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'test/fixtures', name))) {
    const parent = dirname(directory)
    if (parent === directory) throw new Error(`Cannot find test/fixtures/${name}`)
    directory = parent
  }
  return join(directory, 'test/fixtures', name)
}

/** A Compose file over world.yaml. */
function composeMany(): string {
  const services = manyAddresses.map((address, i) => [
    `m${i + 1}`,
    {
      command: ['sleep', 'infinity'],
      container_name: `m${i + 1}`,
      stop_grace_period: '0s',
      deploy: { endpoint_mode: 'dnsrr' },
      networks: { net1: { ipv4_address: address, aliases: ['many'] } },
    },
  ])
  // JSON is YAML.
  return JSON.stringify({ services: Object.fromEntries(services) })
}
