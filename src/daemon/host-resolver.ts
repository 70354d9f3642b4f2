/** The host's resolv.conf, followed, and what it means for each container: upstreams and ndots. */

import type { SocketSpace } from '../../resolver/forward/policy.js'
import {
  watchResolvConf,
  type ResolvConfFile,
  type ResolvConfWatch,
} from '../../resolver/forward/resolv-conf.js'
import type { Container } from '../catalog/container.js'
import { planResolvConf, type SandboxResolvConf } from '../plan/resolv-conf.js'
import type { Outlook } from './names.js'

const emptyFile = (path: string): ResolvConfFile => ({
  path,
  conf: { nameservers: [], search: [], options: [], ndots: undefined, others: [], invalid: [] },
})

export class HostResolver {
  readonly #watch: ResolvConfWatch
  #current: ResolvConfFile

  /** `onChange` is called after `current` has changed. */
  constructor(path: string, onChange: () => void) {
    this.#watch = watchResolvConf(path, file => {
      this.#current = file
      onChange()
    })
    this.#current = this.#watch.current ?? emptyFile(path)
  }

  /** The last good contents. */
  get current(): ResolvConfFile {
    return this.#current
  }

  /** Whom the resolver of a container asks. */
  outlookOf(container: Container, space: SocketSpace): Outlook {
    const { upstreams, ndots } = planContainerResolvConf(container, 'internal', this.#current, true)
    return { policy: { upstreams, space }, ...(ndots !== undefined && { ndots }) }
  }

  close(): void {
    this.#watch.close()
  }
}

/** The container's resolv.conf and upstreams in one of Docker's three modes. */
export function planContainerResolvConf(
  { spec }: Container,
  mode: 'host' | 'legacy' | 'internal',
  file: ResolvConfFile,
  hasIpv6: boolean,
): SandboxResolvConf {
  return planResolvConf({
    mode,
    hostPath: file.path,
    host: file.conf,
    dns: spec.dns,
    dnsSearch: spec.dnsSearch,
    dnsOptions: spec.dnsOptions,
    hasIpv6,
  })
}
