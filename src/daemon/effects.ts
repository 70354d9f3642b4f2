/** The kernel's side of the catalog: bridges, rules and sandboxes made to match it. */

import type { Container } from '../catalog/container.js'
import type { Network, NetworkSpec } from '../catalog/network.js'
import type { BridgeDriver } from '../drivers/bridge.js'
import type { RouteNews } from '../kernel/rtnetlink.js'
import type { MeshControl } from './mesh.js'
import type { NetworkEffects } from './networks.js'
import type { Sandboxes } from './sandboxes.js'
import type { State } from './state.js'

export class Effects implements NetworkEffects {
  readonly #state: State
  readonly #driver: BridgeDriver
  readonly #sandboxes: Sandboxes
  readonly #mesh: Pick<MeshControl, 'reconcileAll'>

  constructor(options: {
    readonly state: State
    readonly driver: BridgeDriver
    readonly sandboxes: Sandboxes
    readonly mesh: Pick<MeshControl, 'reconcileAll'>
  }) {
    this.#mesh = options.mesh
    this.#state = options.state
    this.#driver = options.driver
    this.#sandboxes = options.sandboxes
  }

  check(spec: NetworkSpec): void {
    this.#driver.check(spec)
  }

  reconcile(concerned?: readonly string[]): void {
    const failures = this.#driver.reconcileNetworks(this.#networks())
    for (const [id, failure] of failures) {
      if (concerned === undefined || concerned.includes(id)) throw failure
    }
  }

  async reconcileSandbox(container: Container): Promise<void> {
    await this.#sandboxes.update(container)
  }

  /** Whether these news of links and addresses tell of damage to what is ours. */
  isHurtBy(news: readonly RouteNews[]): boolean {
    return news.some(one => this.#driver.isHurtBy(one))
  }

  hasRules(): boolean {
    return this.#driver.hasRules()
  }

  settled(): Promise<void> {
    return this.#driver.settled()
  }

  /** Everything, as after a change that somebody else made. Rejects with the first failure. */
  async reconcileAll(): Promise<void> {
    try {
      this.reconcile()
    } finally {
      // A network that cannot be mended is no reason to leave the sandboxes as they are.
      await this.#sandboxes.reconcileAll()
      await this.#mesh.reconcileAll()
    }
  }

  /** Removes links of endpoints that nobody has any more. */
  sweep(): void {
    const { containers } = this.#state.snapshot
    const endpoints = [...containers.values()].flatMap(one => one.endpoints.map(({ id }) => id))
    this.#driver.sweep(new Set(endpoints))
  }

  /**
   * Those with a link: the built-in bridge has one only while somebody is on it, the ingress also while
   * a port is published that no replica answers at.
   */
  #networks(): Network[] {
    const { networks, members, allocations } = this.#state.snapshot
    const isPublishing = [...allocations.values()].some(({ ports }) => ports.length > 0)
    return [...networks.values()].filter(
      ({ id, isBuiltin, isIngress }) =>
        !isBuiltin || members.has(id) || (isIngress === true && isPublishing),
    )
  }
}
