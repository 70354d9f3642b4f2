/** Whether the kernel and the disk hold exactly what the daemon says, seen by others' tools. */

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { ContainerView, NetworkView, ServiceView } from '../../src/api/contract.js'
import { openNetns, closeNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'
import type { Host } from '../lab/host.js'

interface LinkEntry {
  readonly ifname: string
  readonly ifalias?: string
  readonly linkinfo?: { readonly info_kind?: string }
}

/** One phrase for each thing that is missing, double or left over; empty where all is true. */
export async function findFaults(host: Host): Promise<string[]> {
  const containers = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
  const networks = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
  const services = await host.api.call<readonly ServiceView[]>('GET', '/v1/services')
  const running = containers.filter(({ state }) => state === 'running')
  return [
    ...doubles('container', names(containers)),
    ...doubles('network', names(networks)),
    ...doubles('address', [...containers.flatMap(bareAddressesOf), ...services.flatMap(vipsOf)]),
    ...doubles(
      'subnet',
      networks.flatMap(({ subnets }) => subnets.map(({ subnet }) => subnet)),
    ),
    ...findHostFaults(host, running, networks),
    ...running.flatMap(findSandboxFaults),
    ...differences('directory', readdirSync(host.paths.containers), ids(containers)),
  ]
}

/** As `findFaults`, once the kernel had a moment for what ended unasked. */
export async function findLastingFaults(host: Host): Promise<string[]> {
  for (let i = 0; i < 100; i++) {
    const faults = await findFaults(host)
    if (faults.length === 0) return faults
    await delay(20)
  }
  return findFaults(host)
}

/** Links of a host as `ip -j` shows them, without what counts packets: to see that nothing was touched. */
export function describeKernel(host: Host): string {
  const parts = [
    command(host.netns, 'ip', '-j', 'link'),
    command(host.netns, 'ip', '-j', 'address'),
    command(host.netns, 'ip', '-j', 'route'),
    command(host.netns, 'nft', '-j', 'list', 'ruleset'),
  ]
  // The kernel drops this by itself when it has looked for doubles.
  return parts.join('\n').replaceAll('"tentative":true,', '')
}

function findHostFaults(
  host: Host,
  running: readonly ContainerView[],
  networks: readonly NetworkView[],
): string[] {
  const links = JSON.parse(command(host.netns, 'ip', '-j', '-d', 'link')) as LinkEntry[]
  const ofKind = (kind: string): LinkEntry[] =>
    links.filter(({ linkinfo }) => linkinfo?.info_kind === kind)
  const endpoints = running.reduce((sum, one) => sum + one.endpoints.length, 0)
  const bridges = networks.flatMap(({ bridge }) => bridge ?? [])
  const veths = ofKind('veth')
  const tables = command(host.netns, 'nft', 'list', 'tables').split('\n').filter(Boolean)
  return [
    ...doubles(
      'mark',
      links.flatMap(({ ifalias }) => ifalias ?? []),
    ),
    ...(veths.length === endpoints ? [] : [`${veths.length} veths for ${endpoints} endpoints`]),
    ...differences(
      'bridge',
      ofKind('bridge').map(({ ifname }) => ifname),
      bridges,
    ),
    ...(tables.length === Math.min(1, bridges.length) ? [] : [`tables ${tables.join(', ')}`]),
  ]
}

/** Interfaces, addresses and resolver rules inside one container. */
function findSandboxFaults({ name, pid, endpoints }: ContainerView): string[] {
  const netns = openNetns(`/proc/${pid}/ns/net`)
  try {
    const text = command(netns, 'ip', '-o', 'address', 'show', 'scope', 'global')
    const found = text
      .split('\n')
      .filter(Boolean)
      .map(line => line.split(/\s+/))
      .map(words => `${words[1]} ${words[3]}`)
    const wanted = endpoints.flatMap(({ interfaceName, ipv4, ipv6 }) =>
      [ipv4, ipv6].flatMap(cidr => (cidr === undefined ? [] : `${interfaceName} ${cidr}`)),
    )
    const rules = command(netns, 'nft', 'list', 'ruleset').match(/(dnat|snat) to/g)?.length
    return [
      ...differences(`${name}: interface`, found, wanted),
      ...(rules === 4 ? [] : [`${name}: ${rules} rules`]),
    ]
  } finally {
    closeNetns(netns)
  }
}

function command(netns: Netns, program: string, ...args: readonly string[]): string {
  const { stdout, stderr, status } = runInNetns(netns, () =>
    spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 }),
  )
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`)
  return stdout
}

function names(of: readonly { readonly name: string }[]): string[] {
  return of.map(({ name }) => name)
}

function ids(of: readonly { readonly id: string }[]): string[] {
  return of.map(({ id }) => id)
}

function bareAddressesOf({ endpoints }: ContainerView): string[] {
  return endpoints.flatMap(({ ipv4, ipv6 }) =>
    [ipv4, ipv6].flatMap(cidr => cidr?.split('/')[0] ?? []),
  )
}

function vipsOf({ vips }: ServiceView): string[] {
  return vips.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].flatMap(address => address ?? []))
}

function doubles(what: string, values: readonly string[]): string[] {
  return values.filter((one, i) => values.indexOf(one) !== i).map(one => `${what} ${one} twice`)
}

function differences(what: string, found: readonly string[], wanted: readonly string[]): string[] {
  return [
    ...found.filter(one => !wanted.includes(one)).map(one => `${what} ${one} left over`),
    ...wanted.filter(one => !found.includes(one)).map(one => `${what} ${one} missing`),
  ]
}
