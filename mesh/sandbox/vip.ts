/**
 * Virtual addresses as a client's sandbox knows them: any port and protocol of one leads to a
 * destination, and one without destinations refuses at once. The client's own address stays.
 *
 * Acts on the namespace of the calling moment, the sandbox's.
 */

import { runNft } from '../../src/kernel/nft.js'
import { dumpShape } from '../../src/kernel/nft-dump.js'
import { forgetPaths, forgetUntranslated, type UdpPath } from '../flows.js'
import { Contents } from '../nft/contents.js'
import { composeRemoval, type Element } from '../nft/program.js'
import { NftTable, runSteps } from '../nft/table.js'
import type { Affinity, Scheduler } from '../state.js'
import { addressesOf, composeVipElements, VIP_TABLE, vipProgram, vipsOf } from './vip-program.js'

export interface VipDestination {
  readonly ipv4?: string
  readonly ipv6?: string
  readonly weight: number
}

export interface SandboxVip {
  /** Unique; stable across changes of everything else. */
  readonly key: string
  readonly vip4?: string
  readonly vip6?: string
  readonly destinations: readonly VipDestination[]
  readonly scheduler: Scheduler
  readonly affinity: Affinity
}

interface Written {
  readonly vip: SandboxVip
  readonly elements: readonly Element[]
}

/** What was written last in one sandbox. For `reconcileVips` only. */
export interface WrittenVips {
  readonly table: NftTable
  readonly byKey: ReadonlyMap<string, Written>
}

export interface VipOutcome {
  /** To be handed in the next time; undefined where nothing is there. */
  readonly written: WrittenVips | undefined
  readonly isChanged: boolean
}

const program = vipProgram()

/**
 * Brings the sandbox to `vips`. With what was `written` last it looks at what differs from that, without
 * at the kernel. Throws KernelError, MeshError `MESH_BAD_SERVICE` where two services have one address;
 * `written` is of no use any more then.
 */
export function reconcileVips(vips: readonly SandboxVip[], written?: WrittenVips): VipOutcome {
  if (vips.length === 0) return { written: undefined, isChanged: removeTable() }
  const table = written?.table ?? new NftTable(program)
  const before = written?.byKey ?? new Map<string, Written>()
  const after = new Map(vips.map(vip => [vip.key, compose(vip, before.get(vip.key))]))
  const gone = [...before.values()].filter(one => after.get(one.vip.key) !== one)
  const come = [...after.values()].filter(one => before.get(one.vip.key) !== one)
  const elementsOf = (some: readonly Written[]): Element[] => some.flatMap(one => one.elements)
  const differences = table.isKnown
    ? runSteps(table.change(elementsOf(gone), elementsOf(come)))
    : runSteps(table.reconcile(new Contents(elementsOf([...after.values()]))))
  // What an earlier process left as it should be has no flows to settle, and looking takes its time.
  if (differences > 0) settleUdp(gone, after, come, before)
  return { written: { table, byKey: after }, isChanged: differences > 0 }
}

function compose(vip: SandboxVip, before: Written | undefined): Written {
  return before?.vip === vip ? before : { vip, elements: composeVipElements(vip) }
}

function removeTable(): boolean {
  if (dumpShape(VIP_TABLE).flags === undefined) return false
  runNft(composeRemoval(VIP_TABLE))
  return true
}

/** No flow stays with a destination that is gone, none goes on untranslated. */
function settleUdp(
  gone: readonly Written[],
  after: ReadonlyMap<string, Written>,
  come: readonly Written[],
  before: ReadonlyMap<string, Written>,
): void {
  const paths = gone.flatMap(({ vip }): UdpPath[] => {
    const kept = new Set(addressesOf(after.get(vip.key)?.vip))
    const own = new Set(vipsOf(vip))
    return addressesOf(vip)
      .filter(address => !kept.has(address))
      .map(address => ({ address, isOfService: original => own.has(original.destination) }))
  })
  forgetPaths(paths)
  const opened = come.filter(
    ({ vip }) =>
      vip.destinations.length > 0 && (before.get(vip.key)?.vip.destinations ?? []).length === 0,
  )
  const addresses = new Set(opened.flatMap(({ vip }) => vipsOf(vip)))
  if (opened.length > 0) forgetUntranslated(({ destination }) => addresses.has(destination))
}
