/**
 * The catalog and its store together: what was declared is durable before anybody sees it, what was
 * observed is seen at once and durable soon.
 */

import type { AddressPoolState } from '../ipam/index.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { Allocation } from '../catalog/allocation.js'
import { Catalog, type Snapshot } from '../catalog/catalog.js'
import type { Change } from '../catalog/change.js'
import type { Container, ContainerStatus } from '../catalog/container.js'
import type { Network } from '../catalog/network.js'
import type { ProjectSpec } from '../catalog/project.js'
import { Mutex } from './mutex.js'
import type { Store, Transaction } from '../store/store.js'

/** Kinds of records in the store, and what each holds. */
export interface Records {
  network: Network
  container: Container
  status: ContainerStatus
  project: ProjectSpec
  allocation: Allocation
  /** Where the address pools of a network stand, by subnet. */
  cursor: Readonly<Record<string, AddressPoolState>>
  meta: { readonly instance: string }
}

/** Cursors to write along with changes, by network id; undefined removes one. */
export type Cursors = ReadonlyMap<string, Records['cursor'] | undefined>

const noCursors: Cursors = new Map()

export class State {
  readonly catalog = new Catalog()
  /**
   * Whoever reads the snapshot, decides and declares does so alone: two commands at once would each
   * decide without the other. Long waits (a stop's grace period) belong outside.
   */
  readonly writing = new Mutex()
  readonly #store: Store<Records>
  readonly #logger: Logger

  /** Reads what the store holds into the catalog. */
  constructor(store: Store<Records>, logger: Logger) {
    this.#store = store
    this.#logger = logger
    this.catalog.apply([
      ...store.list('network').map((network): Change => ({ op: 'put-network', network })),
      ...store.list('container').map((container): Change => ({ op: 'put-container', container })),
      ...store.list('status').map((status): Change => ({ op: 'put-status', status })),
      ...store.list('project').map((project): Change => ({ op: 'put-project', project })),
      ...store
        .list('allocation')
        .map((allocation): Change => ({ op: 'put-allocation', allocation })),
    ])
  }

  get snapshot(): Snapshot {
    return this.catalog.snapshot
  }

  cursorsOf(networkId: string): Records['cursor'] {
    return this.#store.get('cursor', networkId) ?? {}
  }

  /** Writes, then swaps. Rejects with a StoreError and changes nothing where it cannot be written. */
  async declare(changes: readonly Change[], cursors: Cursors = noCursors): Promise<void> {
    await this.#store.transact(transaction => {
      for (const change of changes) write(transaction, change)
      for (const [networkId, cursor] of cursors) {
        if (cursor === undefined) transaction.remove('cursor', networkId)
        else transaction.put('cursor', networkId, cursor)
      }
    })
    this.catalog.apply(changes)
  }

  /**
   * Declares what `change` makes of a container as it is at that moment, alone. Throws what `change`
   * throws; returns the new record, or undefined where the container is gone.
   */
  changeContainer(
    id: string,
    change: (container: Container) => Container,
  ): Promise<Container | undefined> {
    return this.writing.run(async () => {
      const current = this.snapshot.containers.get(id)
      if (current === undefined) return undefined
      const container = change(current)
      if (container !== current) await this.declare([{ op: 'put-container', container }])
      return container
    })
  }

  /** Swaps at once, so that DNS follows in this turn of the event loop; the write comes after. */
  observe(status: ContainerStatus): void {
    this.catalog.apply([{ op: 'put-status', status }])
    const current = this.snapshot.statuses.get(status.id)
    if (current === undefined) return
    this.#store
      .transact(transaction => transaction.put('status', status.id, current))
      .catch((error: unknown) =>
        this.#logger.error({ id: status.id }, `Cannot store what was seen: ${errorMessage(error)}`),
      )
  }
}

function write(transaction: Transaction<Records>, change: Change): void {
  switch (change.op) {
    case 'put-network':
      return transaction.put('network', change.network.id, change.network)
    case 'remove-network':
      return transaction.remove('network', change.id)
    case 'put-container':
      return transaction.put('container', change.container.id, change.container)
    case 'remove-container':
      transaction.remove('container', change.id)
      return transaction.remove('status', change.id)
    case 'put-status':
      return transaction.put('status', change.status.id, change.status)
    case 'put-project':
      return transaction.put('project', change.project.name, change.project)
    case 'remove-project':
      return transaction.remove('project', change.name)
    case 'put-allocation':
      return transaction.put('allocation', change.allocation.key, change.allocation)
    case 'remove-allocation':
      return transaction.remove('allocation', change.key)
  }
}
