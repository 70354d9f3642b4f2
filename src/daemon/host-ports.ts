/** Who of the host's own programs listens where, so that no published port is taken from them. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { listListeners, type Listener } from '../kernel/sock-diag.js'
import type { HostPort } from '../ipam/index.js'

/** Looks at the sockets of this moment; the function it returns looks no more. */
export function listenerFinder(): (port: HostPort) => string | undefined {
  let byPort: ReadonlyMap<string, readonly Listener[]> | undefined
  return wanted => {
    byPort ??= group(listListeners())
    const candidates = byPort.get(`${wanted.port}/${wanted.protocol}`) ?? []
    const listener = candidates.find(one => isAt(one, wanted.address))
    const holder = listener && describeHolder(listener)
    // A proxy of our own: whose port it is the allocations say.
    return holder?.pid === process.pid ? undefined : holder?.text
  }
}

function group(listeners: readonly Listener[]): ReadonlyMap<string, readonly Listener[]> {
  const byPort = new Map<string, Listener[]>()
  for (const listener of listeners) {
    const key = `${listener.port}/${listener.protocol}`
    const known = byPort.get(key)
    if (known === undefined) byPort.set(key, [listener])
    else known.push(listener)
  }
  return byPort
}

function isAt({ address, family, isDualStack }: Listener, wanted: string | undefined): boolean {
  if (wanted === undefined || address === wanted) return true
  const isAny = address === '0.0.0.0' || address === '::'
  if (!isAny) return false
  return family === (wanted.includes(':') ? 6 : 4) || isDualStack
}

/** `nginx (pid 812)`, where its socket can be found among the descriptors of processes. */
function describeHolder({ inode }: Listener): { readonly pid?: number; readonly text: string } {
  const target = `socket:[${inode}]`
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      const isHolder = readdirSync(`/proc/${pid}/fd`).some(
        fd => readlinkSync(`/proc/${pid}/fd/${fd}`) === target,
      )
      if (!isHolder) continue
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
      return { pid: Number(pid), text: `${name} (pid ${pid})` }
    } catch {
      // A process that ended meanwhile, or another user's.
    }
  }
  return { text: 'a program of this host' }
}
