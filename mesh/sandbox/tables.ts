/** Everything the mesh has in one sandbox, brought to what is wanted; cheap where nothing differs. */

import { isDeepStrictEqual } from 'node:util'
import { reconcileIngress, removeIngress, type SandboxIngress } from './ingress.js'
import { reconcileVips, type SandboxVip, type WrittenVips } from './vip.js'

export interface SandboxWish {
  /** Absent: nothing in it is reached from outside. */
  readonly ingress?: SandboxIngress
  readonly vips: readonly SandboxVip[]
}

/** One a sandbox. Made anew it believes nothing, and adopts what an earlier process left. */
export class SandboxTables {
  /** What the kernel is known to have; undefined: nothing is known. */
  #ingress: { readonly wanted: SandboxIngress | undefined } | undefined
  #vips: WrittenVips | undefined
  #areVipsKnown = false

  /** The next `write` compares with the kernel. */
  forget(): void {
    this.#ingress = undefined
    this.#areVipsKnown = false
  }

  /**
   * In the namespace of the calling moment. Returns whether anything was written. Throws KernelError and
   * MeshError, and forgets then.
   */
  write({ ingress, vips }: SandboxWish): boolean {
    try {
      return [this.#writeIngress(ingress), this.#writeVips(vips)].includes(true)
    } catch (error) {
      this.forget()
      throw error
    }
  }

  #writeIngress(wanted: SandboxIngress | undefined): boolean {
    if (this.#ingress !== undefined && isDeepStrictEqual(this.#ingress.wanted, wanted)) return false
    const isChanged = wanted === undefined ? removeIngress() : reconcileIngress(wanted)
    this.#ingress = { wanted }
    return isChanged
  }

  #writeVips(vips: readonly SandboxVip[]): boolean {
    if (!this.#areVipsKnown) this.#vips = undefined
    else if (this.#vips === undefined && vips.length === 0) return false
    const { written, isChanged } = reconcileVips(vips, this.#vips)
    this.#vips = written
    this.#areVipsKnown = true
    return isChanged
  }
}
