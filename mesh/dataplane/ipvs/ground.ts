/** What the dataplane has open: the namespace, IPVS in it, and a table there and on the host. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { runInNetns, type Netns } from '../../../src/kernel/netns.js'
import type { TableProgram } from '../../nft/program.js'
import { NftTable, observeTable, type Steps } from '../../nft/table.js'
import type { IngressPlace } from '../../state.js'
import { watchTable, type FdPoller, type Watch } from '../nftables/tamper.js'
import { adoptAliases, type Aliases } from './aliases.js'
import { Balancer } from './balancer.js'
import { hostProgram, ingressProgram } from './program.js'
import { IngressSandbox } from './sandbox.js'

export interface IpvsOptions {
  readonly place: IngressPlace
  /** The name of a table on the host and of one in the namespace, both all ours. */
  readonly table: string
  /**
   * The file that holds the namespace, so that it outlives this process: below the daemon's run
   * directory, in a mount namespace that lasts.
   */
  readonly nsPath: string
  /** Absent: nobody tells when somebody else changes the tables. */
  readonly poller?: FdPoller
}

/** A table in the namespace that it is in. */
export class PlacedTable {
  readonly netns: Netns
  readonly program: TableProgram
  readonly table: NftTable

  constructor(netns: Netns, program: TableProgram) {
    this.netns = netns
    this.program = program
    this.table = new NftTable(program)
  }

  /** Runs the transactions of a change, and lets others run in between. */
  async run(steps: Steps): Promise<number> {
    for (;;) {
      const step = runInNetns(this.netns, () => steps.next())
      if (step.done === true) return step.value
      await nextTurn()
    }
  }
}

export class Ground {
  readonly sandbox: IngressSandbox
  readonly balancer: Balancer
  readonly host: PlacedTable
  readonly ingress: PlacedTable
  /** Which address of the namespace stands for which of the host. */
  aliases: Aliases
  readonly #watches: readonly Watch[]

  /** Throws KernelError, IpvsError, MeshError `MESH_NO_DATAPLANE`. */
  static open(netns: Netns, options: IpvsOptions, onTampered: () => void): Ground {
    const { place, nsPath } = options
    const sandbox = IngressSandbox.open(netns, place, nsPath)
    try {
      return new Ground(netns, sandbox, options, onTampered)
    } catch (error) {
      sandbox.close()
      throw error
    }
  }

  private constructor(
    netns: Netns,
    sandbox: IngressSandbox,
    { place, table, poller }: IpvsOptions,
    onTampered: () => void,
  ) {
    this.sandbox = sandbox
    this.balancer = new Balancer(sandbox.netns)
    this.host = new PlacedTable(netns, hostProgram(table, place, sandbox.transit))
    this.ingress = new PlacedTable(sandbox.netns, ingressProgram(table, place))
    const left = runInNetns(netns, () => observeTable(this.host.program))
    this.aliases = adoptAliases(left.list(), sandbox.transit)
    this.#watches =
      poller === undefined
        ? []
        : [netns, sandbox.netns].map(one =>
            runInNetns(one, () => watchTable(table, poller, onTampered)),
          )
  }

  /** Whether what the tables hold is known. */
  get isKnown(): boolean {
    return this.host.table.isKnown && this.ingress.table.isKnown
  }

  forget(): void {
    this.host.table.forget()
    this.ingress.table.forget()
  }

  /** Lets go; the kernel goes on balancing. */
  close(): void {
    for (const watch of this.#watches) watch.close()
    this.balancer.close()
    this.sandbox.close()
  }
}
