/**
 * The mesh's rules in each sandbox: where published ports lead inside it, and who is behind the virtual
 * addresses that it can see. Sandboxes follow a change some at a time.
 */

import { isDeepStrictEqual } from 'node:util'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { SandboxTables, type SandboxIngress, type SandboxVip } from '../../mesh/sandbox/index.js'
import type { IngressPlace } from '../../mesh/state.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import type { Snapshot } from '../catalog/catalog.js'
import type { Delta } from '../catalog/change.js'
import type { Container } from '../catalog/container.js'
import { runInNetns, type Netns } from '../kernel/netns.js'
import { planSandboxIngress, planVip, planVips } from '../plan/mesh.js'
import type { State } from './state.js'

export interface SandboxMeshesOptions {
  readonly state: Pick<State, 'snapshot'>
  /** Where replicas meet the node's mesh; undefined while nothing is published. */
  readonly place: () => IngressPlace | undefined
  readonly logger: Logger
}

interface Own {
  readonly netns: Netns
  readonly tables: SandboxTables
  /** What was written last, and maybe is given up since. */
  targets: SandboxIngress['targets']
}

type VipsByKey = ReadonlyMap<string, SandboxVip>

/** How long sandboxes are written before others get their turn. */
const sliceMs = 4
const noVips: VipsByKey = new Map()

export class SandboxMeshes {
  readonly #options: SandboxMeshesOptions
  readonly #own = new Map<string, Own>()
  /** By network id. */
  readonly #vips = new Map<string, VipsByKey>()
  readonly #due = new Set<string>()
  readonly #problems = new Map<string, string>()
  #writing: Promise<void> | undefined

  constructor(options: SandboxMeshesOptions) {
    this.#options = options
  }

  problems(): readonly string[] {
    return [...this.#problems.values()]
  }

  load(snapshot: Snapshot): void {
    this.#vips.clear()
    for (const { id } of snapshot.networks.values()) this.#loadNetwork(snapshot, id)
  }

  /** Follows a swap; `touched` are the keys of services that may differ. */
  update(snapshot: Snapshot, delta: Delta, touched: ReadonlySet<string>): void {
    for (const id of delta.networks) this.#loadNetwork(snapshot, id)
    for (const networkId of this.#followVips(snapshot, touched)) {
      for (const member of snapshot.members.get(networkId) ?? []) this.#mark(member)
    }
    // Their endpoints or published ports may be others now.
    for (const id of delta.containers) this.#mark(id)
    for (const key of delta.allocations) {
      for (const id of snapshot.replicas.get(key) ?? []) this.#mark(id)
    }
  }

  /** Writes everything that a fresh sandbox needs. Throws KernelError. */
  open(container: Container, netns: Netns): void {
    const own: Own = { netns, tables: new SandboxTables(), targets: [] }
    this.#write(container, own)
    this.#own.set(container.id, own)
  }

  /** One that an earlier daemon left: what it needs is there, and is compared when there is time. */
  adopt({ id }: Container, netns: Netns): void {
    this.#own.set(id, { netns, tables: new SandboxTables(), targets: [] })
    this.#mark(id)
  }

  close(containerId: string): void {
    this.#own.delete(containerId)
    this.#due.delete(containerId)
    this.#problems.delete(containerId)
  }

  release(): void {
    this.#own.clear()
    this.#due.clear()
  }

  /** Resolves when every sandbox is as the catalog says. */
  async settled(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
  }

  /** Believes the kernel, not memory. Rejects with the first failure once all were tried. */
  async reconcileAll(): Promise<void> {
    for (const [id, { tables }] of this.#own) {
      tables.forget()
      this.#mark(id)
    }
    await this.settled()
    const [problem] = this.#problems.values()
    if (problem !== undefined) throw new Error(problem)
  }

  /** Somebody changed the rules of one sandbox. */
  restore(containerId: string): void {
    this.#own.get(containerId)?.tables.forget()
    this.#mark(containerId)
  }

  #mark(containerId: string): void {
    if (!this.#own.has(containerId)) return
    this.#due.add(containerId)
    this.#writing ??= this.#writeUntilNoneIsDue()
  }

  /** Some become due after the last was written and before that is known to be all: they come too. */
  async #writeUntilNoneIsDue(): Promise<void> {
    do await this.#writeDue()
    while (this.#due.size > 0)
    this.#writing = undefined
  }

  async #writeDue(): Promise<void> {
    // The first slice in this turn: most changes concern a few sandboxes.
    let sliceEnd = performance.now() + sliceMs
    for (;;) {
      const [id] = this.#due
      if (id === undefined) return
      this.#due.delete(id)
      this.#refresh(id)
      if (performance.now() < sliceEnd) continue
      await nextTurn()
      sliceEnd = performance.now() + sliceMs
    }
  }

  #refresh(id: string): void {
    const container = this.#options.state.snapshot.containers.get(id)
    const own = this.#own.get(id)
    if (container === undefined || own === undefined) return
    try {
      this.#write(container, own)
      this.#problems.delete(id)
    } catch (error) {
      own.tables.forget()
      const problem = `Cannot write the mesh's rules of "${container.name}": ${errorMessage(error)}`
      this.#problems.set(id, problem)
      this.#options.logger.error({ container: container.name }, problem)
    }
  }

  #write(container: Container, own: Own): void {
    const { state, place } = this.#options
    const planned = planSandboxIngress(state.snapshot, container, place())
    const targets = planned === undefined ? [] : withGivenUp(planned.targets, own.targets)
    const vips = container.endpoints.flatMap(({ networkId }) => [
      ...(this.#vips.get(networkId) ?? noVips).values(),
    ])
    runInNetns(own.netns, () =>
      own.tables.write({ ...(planned && { ingress: { ...planned, targets } }), vips }),
    )
    own.targets = targets
  }

  #loadNetwork(snapshot: Snapshot, networkId: string): void {
    const vips = snapshot.networks.has(networkId) ? planVips(snapshot, networkId) : []
    if (vips.length === 0) this.#vips.delete(networkId)
    else this.#vips.set(networkId, new Map(vips.map(vip => [vip.key, vip])))
  }

  /** Returns the networks on which something differs. */
  #followVips(snapshot: Snapshot, touched: ReadonlySet<string>): ReadonlySet<string> {
    const changed = new Set<string>()
    for (const key of touched) {
      const allocation = snapshot.allocations.get(key)
      const known = [...this.#vips.keys()].filter(id => this.#vips.get(id)?.has(`${key}@${id}`))
      for (const id of new Set([...known, ...Object.keys(allocation?.vips ?? {})])) {
        const vip = allocation && planVip(snapshot, allocation, id)
        if (this.#putVip(id, `${key}@${id}`, vip)) changed.add(id)
      }
    }
    return changed
  }

  #putVip(networkId: string, key: string, vip: SandboxVip | undefined): boolean {
    const known = this.#vips.get(networkId) ?? noVips
    if (isDeepStrictEqual(known.get(key), vip)) return false
    const next = new Map(known)
    if (vip === undefined) next.delete(key)
    else next.set(key, vip)
    this.#vips.set(networkId, next)
    return true
  }
}

/**
 * Ports that are given up stay known: the node sends connections there until its own rules have
 * changed, which is later. Nothing arrives at them after that.
 */
function withGivenUp(
  wanted: SandboxIngress['targets'],
  written: SandboxIngress['targets'],
): SandboxIngress['targets'] {
  const isWanted = ({ protocol, first, last }: SandboxIngress['targets'][number]): boolean =>
    wanted.some(one => one.protocol === protocol && first <= one.last && one.first <= last)
  return [...wanted, ...written.filter(one => !isWanted(one))]
}
