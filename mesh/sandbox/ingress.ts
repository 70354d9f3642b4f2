/**
 * What a replica's sandbox has so that connections through the ingress arrive as if the client had come
 * straight: at the port the program listens on, at the address that replies to this client leave from,
 * and with a way back through the point that translated them, whatever the routes say otherwise.
 *
 * Acts on the namespace of the calling moment, the sandbox's.
 */

import { runNft } from '../../src/kernel/nft.js'
import { dumpShape } from '../../src/kernel/nft-dump.js'
import { getLink } from '../../src/kernel/rtnetlink.js'
import {
  reconcileRoutes,
  removeRoute,
  replaceRoute,
  listTableRoutes,
} from '../../src/kernel/routing.js'
import { listRules, reconcileRules, type Rule } from '../../src/kernel/rules.js'
import { isLinuxAtLeast } from '../../src/kernel/release.js'
import { readSysctl, writeSysctl } from '../../src/kernel/sysctl.js'
import { MeshError } from '../error.js'
import { pointMark } from '../marks.js'
import { Contents } from '../nft/contents.js'
import { composeRemoval } from '../nft/program.js'
import { NftTable, runSteps } from '../nft/table.js'
import type { IngressPoint, Protocol } from '../state.js'
import { composeIngressElements, INGRESS_TABLE, ingressProgram } from './ingress-program.js'

/** Published ports and where they lead. Ports that are published as they are need no entry. */
export interface IngressTarget {
  readonly protocol: Protocol
  readonly first: number
  readonly last: number
  /** Of `first`. */
  readonly target: number
  /** `offset`: the next port leads to the next target; `single`: all to one. */
  readonly kind: 'offset' | 'single'
}

/** The sandbox's own end of a network, or its address there. */
export interface OwnSubnet {
  /** CIDR. */
  readonly subnet: string
  readonly address: string
}

export interface SandboxIngress {
  readonly interfaceName: string
  /** The host's first. */
  readonly points: readonly IngressPoint[]
  /** The addresses of `interfaceName`. */
  readonly ingress: {
    readonly ipv4?: string
    readonly ipv6?: string
    readonly subnet4?: string
    readonly subnet6?: string
  }
  readonly ownSubnets: readonly OwnSubnet[]
  /** What leaves by the default route has this address; absent: there is no such route. */
  readonly defaultAddress4?: string
  readonly defaultAddress6?: string
  readonly targets: readonly IngressTarget[]
}

/** Tells our rules from others' (rt_protos; no program is known to use it). */
const PROTOCOL = 81
const PRIORITY = 5100
const TABLES = 5_100_000
const MAIN_TABLE = 254
/** Lower than any default route that somebody means. */
const FALLBACK_METRIC = 9999
const LOOSE = '2'

/**
 * Brings the sandbox to `wanted`; returns whether anything was written. Throws KernelError, and
 * MeshError `MESH_BAD_SERVICE` where the interface is missing or two ports contradict each other.
 */
export function reconcileIngress(wanted: SandboxIngress): boolean {
  const link = getLink(wanted.interfaceName)
  if (link === undefined) {
    throw new MeshError(
      'MESH_BAD_SERVICE',
      `The sandbox has no interface "${wanted.interfaceName}"; attach it to the ingress network first`,
    )
  }
  const table = new NftTable(ingressProgram(wanted.interfaceName))
  const changes = [
    writeSettings(wanted.interfaceName),
    reconcilePaths(wanted, link.index),
    reconcileFallback(wanted, link.index),
    runSteps(table.reconcile(new Contents(composeIngressElements(wanted)))),
  ]
  return changes.some(count => count > 0)
}

/** Takes everything of it away; returns whether there was anything. Settings stay. */
export function removeIngress(): boolean {
  const isOurs = ({ protocol }: Rule): boolean => protocol === PROTOCOL
  const tables = new Set(
    listRules()
      .filter(isOurs)
      .map(({ table }) => table),
  )
  let changes = reconcileRules([], isOurs)
  for (const table of tables) changes += reconcileRoutes(table, [])
  for (const route of listTableRoutes(MAIN_TABLE)) {
    const isFallback = route.metric === FALLBACK_METRIC && route.destination === undefined
    if (isFallback && removeRoute(MAIN_TABLE, route)) changes++
  }
  if (dumpShape(INGRESS_TABLE).flags !== undefined) {
    runNft(composeRemoval(INGRESS_TABLE))
    changes++
  }
  return changes > 0
}

function writeSettings(interfaceName: string): number {
  const settings: readonly (readonly [string, string])[] = [
    // The way back is looked up with the mark, also where the kernel checks who may send from where.
    ['net.ipv4.conf.all.src_valid_mark', '1'],
    [`net.ipv4.conf.${interfaceName}.rp_filter`, LOOSE],
    // What the kernel itself answers takes the same way: resets, ICMP, and SYN-ACKs.
    ['net.ipv4.fwmark_reflect', '1'],
    ['net.ipv6.fwmark_reflect', '1'],
    ['net.ipv4.tcp_fwmark_accept', '1'],
    // Two published ports of one target may meet one client port: such kernels give the second
    // connection's first packet to the first one's socket, before its port is translated.
    ...(isLinuxAtLeast(6, 6) ? [] : ([['net.ipv4.tcp_early_demux', '0']] as const)),
  ]
  // A kernel without IPv6 lacks its keys.
  return settings.filter(([key, value]) => readSysctl(key) !== undefined && writeSysctl(key, value))
    .length
}

/** A routing table for each point, found by the mark of its connections. */
function reconcilePaths({ points }: SandboxIngress, index: number): number {
  const families = (point: IngressPoint): (readonly [4 | 6, string])[] => [
    ...(point.ipv4 === undefined ? [] : [[4, point.ipv4] as const]),
    ...(point.ipv6 === undefined ? [] : [[6, point.ipv6] as const]),
  ]
  const rules = points.flatMap(point =>
    families(point).map(([family]): Rule => ({
      family,
      priority: PRIORITY,
      table: TABLES + point.id,
      mark: { value: pointMark(point.id) },
      protocol: PROTOCOL,
    })),
  )
  const isOurs = ({ protocol }: Rule): boolean => protocol === PROTOCOL
  const kept = new Set(rules.map(({ table }) => table))
  const stale = new Set(
    listRules()
      .filter(isOurs)
      .map(({ table }) => table),
  )
  let changes = 0
  for (const point of points) {
    const routes = families(point).map(
      ([family, gateway]) => ({ family, type: 'unicast', gateway, index, isOnlink: true }) as const,
    )
    changes += reconcileRoutes(TABLES + point.id, routes)
  }
  changes += reconcileRules(rules, isOurs)
  for (const table of stale) if (!kept.has(table)) changes += reconcileRoutes(table, [])
  return changes
}

/**
 * A sandbox without a default route cannot begin to answer: a socket wants a route before any rule of
 * ours sees the packet. The host lets nothing but answers out of the ingress network.
 */
function reconcileFallback(wanted: SandboxIngress, index: number): number {
  const [host] = wanted.points
  const needs = [
    { family: 4, gateway: host?.ipv4, isNeeded: wanted.defaultAddress4 === undefined },
    { family: 6, gateway: host?.ipv6, isNeeded: wanted.defaultAddress6 === undefined },
  ] as const
  const present = listTableRoutes(MAIN_TABLE).filter(
    route => route.metric === FALLBACK_METRIC && route.destination === undefined,
  )
  let changes = 0
  for (const { family, gateway, isNeeded } of needs) {
    const found = present.find(route => route.family === family)
    if (gateway === undefined || !isNeeded) {
      if (found !== undefined && removeRoute(MAIN_TABLE, found)) changes++
    } else if (found?.gateway !== gateway || found.index !== index) {
      const metric = FALLBACK_METRIC
      replaceRoute(MAIN_TABLE, { family, type: 'unicast', gateway, index, metric, isOnlink: true })
      changes++
    }
  }
  return changes
}
