/**
 * Published ports at [::1]. The kernel translates no connection that begins at ::1 (its replies are lost
 * before they come in), so a proxy in this process serves that one address. It ends with the daemon;
 * every other address is the kernel's and stays.
 */

import { Mesh, UserspaceDataplane, type MeshState, type VirtualService } from '../../mesh/index.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'

const loopback = '::1'
/** Each port takes a descriptor: a wide range is not served here. */
const maxPorts = 64

export class LoopbackRelay {
  readonly #logger: Logger
  #mesh: Mesh | undefined
  #problem: string | undefined

  constructor(logger: Logger) {
    this.#logger = logger
  }

  problems(): readonly string[] {
    return this.#problem === undefined ? [] : [this.#problem]
  }

  /** Serves what `services` publish at every address or at this one. Does not reject. */
  async follow(services: MeshState): Promise<void> {
    const relayed = [...services.values()].flatMap(relayedService)
    try {
      if (this.#mesh === undefined) {
        if (relayed.length === 0) return
        const onError = (error: unknown): void => this.#tell(error)
        this.#mesh = await Mesh.open({ dataplane: new UserspaceDataplane({ onError }), onError })
      }
      await this.#mesh.update(relayed)
      this.#problem = undefined
    } catch (error) {
      this.#tell(error)
    }
  }

  async close(): Promise<void> {
    await this.#mesh?.close()
    this.#mesh = undefined
  }

  #tell(error: unknown): void {
    this.#problem = `Published ports are not served at [${loopback}]: ${errorMessage(error)}`
    this.#logger.warn({}, this.#problem)
  }
}

/** None where nothing of it is for us; the same object for the same service, so that nothing changes. */
function relayedService(service: VirtualService): VirtualService[] {
  const known = relayedServices.get(service)
  if (known !== undefined) return [known]
  const ports = service.ports.flatMap(port => {
    const isOurs = port.address === undefined || port.address === loopback
    const isProxied = port.protocol !== 'sctp' && port.last - port.first < maxPorts
    return isOurs && isProxied ? [{ ...port, address: loopback }] : []
  })
  if (ports.length === 0) return []
  const relayed: VirtualService = { ...service, ports }
  relayedServices.set(service, relayed)
  return [relayed]
}

const relayedServices = new WeakMap<VirtualService, VirtualService>()
