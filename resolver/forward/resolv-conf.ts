/**
 * Reads resolv.conf(5) and follows it: in-place writes, renames over it, and changes behind its
 * symlinks. Does not decide which of its nameservers are used.
 */

import { lstatSync, readFileSync, readlinkSync, watch } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { parseNdots } from './ndots.js'
import type { FSWatcher } from 'node:fs'

export const HOST_RESOLV_CONF = '/etc/resolv.conf'
/** Where systemd-resolved writes the servers that its stub asks. */
export const SYSTEMD_RESOLV_CONF = '/run/systemd/resolve/resolv.conf'
const SYSTEMD_STUB = '127.0.0.53'

/** Writers truncate and write, or write and rename; this long after the last event it is whole. */
const DEBOUNCE_MS = 200
/** Some file systems and bind mounts tell nothing; then a change is seen this late. */
const POLL_MS = 5000
const MAX_SYMLINKS = 40

/** The contents of a resolv.conf. */
export interface ResolvConf {
  /** IPv4 or IPv6, with a zone where written; all of them, in order. */
  readonly nameservers: readonly string[]
  /** Of the last `search` or `domain` line. */
  readonly search: readonly string[]
  /** Of all `options` lines, in order. */
  readonly options: readonly string[]
  /** The last valid `ndots`; undefined without one. */
  readonly ndots: number | undefined
  /** Other lines, as written. */
  readonly others: readonly string[]
  /** What stood for a nameserver and is no address. */
  readonly invalid: readonly string[]
}

/** Parses the text of a resolv.conf. Nothing in it is an error. */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = []
  const options: string[] = []
  const others: string[] = []
  const invalid: string[] = []
  let search: readonly string[] = []
  for (const line of text.split(/\r?\n/)) {
    const [keyword, ...words] = line.trim().split(/\s+/)
    if (keyword === undefined || keyword === '' || /^[#;]/.test(keyword)) continue
    switch (keyword) {
      case 'nameserver': {
        const [address] = words
        if (address === undefined) break
        if (isIP(address) === 0) invalid.push(address)
        else nameservers.push(address)
        break
      }
      case 'domain':
      case 'search':
        search = words
        break
      case 'options':
        options.push(...words)
        break
      default:
        others.push(line)
    }
  }
  return { nameservers, search, options, ndots: parseNdots(options), others, invalid }
}

/** True where the only nameserver is systemd-resolved's stub, which no other namespace reaches. */
export function isSystemdStub(conf: ResolvConf): boolean {
  return conf.nameservers.length === 1 && conf.nameservers[0] === SYSTEMD_STUB
}

export interface ResolvConfFile {
  /** The file that was read: the one named, or that of systemd-resolved. */
  readonly path: string
  readonly conf: ResolvConf
}

/** Reads `path`, or what stands behind systemd's stub. Throws as `readFileSync` does. */
export function readResolvConf(path: string, systemdPath = SYSTEMD_RESOLV_CONF): ResolvConfFile {
  return parseFile(path, readFileSync(path, 'utf8'), systemdPath)
}

export interface ResolvConfWatch {
  /** The last good contents; undefined while there never were any. */
  readonly current: ResolvConfFile | undefined
  close(): void
}

/**
 * Follows `path` and calls `onChange` with new contents, within 1 s of a change; the first contents
 * are in `current`. A file that is missing, unreadable or empty leaves the last good contents.
 */
export function watchResolvConf(
  path: string,
  onChange: (file: ResolvConfFile) => void,
  systemdPath = SYSTEMD_RESOLV_CONF,
): ResolvConfWatch {
  return new Watcher(path, onChange, systemdPath)
}

class Watcher implements ResolvConfWatch {
  current: ResolvConfFile | undefined
  readonly #path: string
  readonly #systemdPath: string
  readonly #onChange: (file: ResolvConfFile) => void
  readonly #poll: NodeJS.Timeout
  #watchers: FSWatcher[] = []
  #debounce: NodeJS.Timeout | undefined

  constructor(path: string, onChange: (file: ResolvConfFile) => void, systemdPath: string) {
    this.#path = path
    this.#systemdPath = systemdPath
    this.#onChange = onChange
    // Armed before it is read, so that no change falls between the two.
    this.#arm()
    this.current = this.#read()
    this.#poll = setInterval(() => this.#refresh(), POLL_MS).unref()
  }

  close(): void {
    clearInterval(this.#poll)
    clearTimeout(this.#debounce)
    this.#disarm()
  }

  #refresh(): void {
    this.#arm()
    const next = this.#read()
    if (next === undefined) return
    const hasChanged = JSON.stringify(next) !== JSON.stringify(this.current)
    this.current = next
    if (hasChanged) this.#onChange(next)
  }

  #read(): ResolvConfFile | undefined {
    try {
      const text = readFileSync(this.#path, 'utf8')
      // Truncated and not yet written, unless that is all we ever saw.
      if (text.trim() === '' && this.current !== undefined) return undefined
      return parseFile(this.#path, text, this.#systemdPath)
    } catch {
      return undefined
    }
  }

  /** Watches anew: after a rename or a new symlink the old watches are on the wrong inodes. */
  #arm(): void {
    const old = this.#watchers
    this.#watchers = []
    const links = [...symlinkChain(this.#path), ...symlinkChain(this.#systemdPath)]
    for (const place of new Set(links.flatMap(link => [dirname(link), link]))) this.#watch(place)
    for (const watcher of old) watcher.close()
  }

  #watch(place: string): void {
    try {
      const watcher = watch(place, { persistent: false }, () => this.#schedule())
      watcher.on('error', () => watcher.close())
      this.#watchers.push(watcher)
    } catch {
      // Not there yet: its directory, or the poll, tells when it is.
    }
  }

  #disarm(): void {
    for (const watcher of this.#watchers) watcher.close()
    this.#watchers = []
  }

  /** Not put off by further events: in a busy directory the 200 ms would never pass. */
  #schedule(): void {
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined
      this.#refresh()
    }, DEBOUNCE_MS).unref()
  }
}

function parseFile(path: string, text: string, systemdPath: string): ResolvConfFile {
  const conf = parseResolvConf(text)
  if (!isSystemdStub(conf)) return { path, conf }
  try {
    return { path: systemdPath, conf: parseResolvConf(readFileSync(systemdPath, 'utf8')) }
  } catch {
    return { path, conf }
  }
}

/** `path` and everything it points to, one link after the other. */
function symlinkChain(path: string): readonly string[] {
  const chain = [path]
  for (let at = path; chain.length < MAX_SYMLINKS;) {
    try {
      if (!lstatSync(at).isSymbolicLink()) break
      at = resolve(dirname(at), readlinkSync(at))
    } catch {
      break
    }
    chain.push(at)
  }
  return chain
}
