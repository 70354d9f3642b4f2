/** The one kernel module that Portolan asks for by name, IPVS: whether it is there, and loading it. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'

const MODULE = 'ip_vs'
const PROGRAMS = ['/usr/sbin/modprobe', '/sbin/modprobe']
const LOAD_TIMEOUT_MS = 10_000

/** `loaded` also where it is no module but a part of the kernel. */
export type IpvsState = 'loaded' | 'loadable' | 'absent'

/** Asks the kernel first, then the lists of its modules. */
export function ipvsState(): IpvsState {
  if (existsSync(`/sys/module/${MODULE}`) || existsSync('/proc/net/ip_vs')) return 'loaded'
  const folder = `/lib/modules/${release()}`
  if (listsIpvs(readList(`${folder}/modules.builtin`))) return 'loaded'
  return listsIpvs(readList(`${folder}/modules.dep`)) ? 'loadable' : 'absent'
}

/** Loads IPVS where it can be; returns whether it is there afterwards. Takes a while the first time. */
export function loadIpvs(): boolean {
  const program = PROGRAMS.find(path => existsSync(path))
  if (ipvsState() === 'loadable' && program !== undefined) {
    // The kernel is asked afterwards: whatever modprobe says, that is what counts.
    spawnSync(program, ['-q', MODULE], { stdio: 'ignore', timeout: LOAD_TIMEOUT_MS, env: {} })
  }
  return ipvsState() === 'loaded'
}

/**
 * Whether modules.builtin or modules.dep names IPVS (modules.dep(5)): a line starts with the path of a
 * module, perhaps compressed, and may go on with those that it needs.
 */
export function listsIpvs(list: string): boolean {
  return /^[^:\n]*\/ip_vs\.ko(\.\w+)?(:|$)/m.test(list)
}

function readList(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}
