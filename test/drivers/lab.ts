/** A host of the test's own: a namespace with a way to an "outside" one, and sandboxes on bridges. */

import { spawnSync } from 'node:child_process'
import type { Test } from 'tap'
import type { Endpoint } from '../../src/catalog/endpoint.js'
import type { Network } from '../../src/catalog/network.js'
import { BridgeDriver } from '../../src/drivers/bridge.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../src/kernel/netns.js'

/** Options for a test that makes namespaces. */
export const asRoot =
  process.geteuid?.() === 0 ? {} : { skip: 'needs root: makes network namespaces and links' }

/** Outside the host: RFC 5737 and RFC 3849. */
export const OUTSIDE = { v4: '203.0.113.2', v6: '2001:db8::2' } as const
export const INSTANCE = 'lab'
export const TABLE = 'portolan_lab'

/** What a command said, as one who is not our code sees the kernel. */
export function run(netns: Netns, command: string, ...args: readonly string[]): string {
  const { stdout, stderr, status } = runInNetns(netns, () =>
    spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 }),
  )
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr || stdout}`)
  return stdout
}

/** The JSON of `ip -j`. */
export function ip(netns: Netns, ...args: readonly string[]): Record<string, unknown>[] {
  const text = run(netns, 'ip', '-j', '-d', ...args)
  return text.trim() === '' ? [] : (JSON.parse(text) as Record<string, unknown>[])
}

/**
 * Whether an address answers a TCP connect: a refusal is an answer too. Long enough for one more
 * SYN, as a port that just came up may lose the first.
 */
export function reaches(from: Netns, address: string): boolean {
  const script = `exec 3<>/dev/tcp/${address}/7`
  const { status, stderr } = runInNetns(from, () =>
    spawnSync('timeout', ['2.5', 'bash', '-c', script], { encoding: 'utf8', timeout: 5_000 }),
  )
  return status === 0 || stderr.includes('Connection refused')
}

export interface Lab {
  readonly host: Netns
  readonly outside: Netns
  readonly driver: BridgeDriver
  /** Runs in the host's namespace, where a daemon would. */
  at<T>(body: () => T): T
  sandbox(): Netns
}

/** The host has 203.0.113.1 and 2001:db8::1; the outside knows no way to container addresses. */
export function openLab(t: Test): Lab {
  const made: Netns[] = []
  const fresh = (): Netns => {
    const netns = createNetns()
    made.push(netns)
    return netns
  }
  t.teardown(() => made.forEach(closeNetns))
  const [host, outside] = [fresh(), fresh()]
  const peer = `/proc/${process.pid}/fd/${outside.fd}`
  run(host, 'ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', peer)
  for (const [netns, end] of [[host, '1'] as const, [outside, '2'] as const]) {
    run(netns, 'ip', 'address', 'add', `203.0.113.${end}/24`, 'dev', 'up0')
    run(netns, 'ip', 'address', 'add', `2001:db8::${end}/64`, 'dev', 'up0', 'nodad')
    run(netns, 'ip', 'link', 'set', 'up0', 'up')
  }
  const at = <T>(body: () => T): T => runInNetns(host, body)
  const driver = at(() => openDriver())
  return { host, outside, driver, at, sandbox: fresh }
}

/** The driver of a daemon that starts now. */
export function openDriver(): BridgeDriver {
  return new BridgeDriver({ instance: INSTANCE, table: TABLE })
}

/** Network `n` is 10.0.n.0/24, and fd00:n::/64 where asked. */
export function network(n: number, changes: Partial<Network> = {}): Network {
  const subnets = [{ subnet: `10.0.${n}.0/24`, gateway: `10.0.${n}.1`, auxAddresses: {} }]
  if (changes.hasIpv6 === true) {
    subnets.push({ subnet: `fd00:${n}::/64`, gateway: `fd00:${n}::1`, auxAddresses: {} })
  }
  return {
    id: hexId(n),
    name: `net${n}`,
    driver: 'bridge',
    options: {},
    subnets,
    hasIpv4: true,
    hasIpv6: false,
    isInternal: false,
    isAttachable: true,
    labels: {},
    declaration: '',
    isBuiltin: false,
    createdAt: '2026-01-01T00:00:00Z',
    ...changes,
  }
}

/** The endpoint with host number `host` on a network of `network()`. */
export function endpoint(on: Network, host: number, interfaceName = 'eth0'): Endpoint {
  const prefix = on.subnets[0]?.subnet.replace(/\.0\/24$/, '') ?? ''
  const n = Number(prefix.split('.')[2])
  return {
    id: hexId(n * 256 + host),
    networkId: on.id,
    containerId: hexId(host),
    aliases: [],
    ipv4: `${prefix}.${host}/24`,
    ...(on.hasIpv6 && { ipv6: `fd00:${n}::${host}/64` }),
    isStatic: false,
    mac: `02:42:0a:00:${byte(n)}:${byte(host)}`,
    interfaceName,
    gatewayPriority: 0,
  }
}

/** Attaches a sandbox to networks; the first one carries the default routes unless it is internal. */
export function attach(
  lab: Lab,
  netns: Netns,
  endpoints: readonly { readonly endpoint: Endpoint; readonly network: Network }[],
  driver: BridgeDriver = lab.driver,
): void {
  const gateway = endpoints.find(({ network }) => !network.isInternal)
  lab.at(() =>
    driver.reconcileSandbox({
      netns,
      name: 'box',
      endpoints,
      ...(gateway && { gateway4: gateway.endpoint.id }),
      ...(gateway?.network.hasIpv6 && { gateway6: gateway.endpoint.id }),
    }),
  )
}

function hexId(n: number): string {
  return n.toString(16).padStart(4, '0').repeat(16)
}

function byte(n: number): string {
  return n.toString(16).padStart(2, '0')
}
