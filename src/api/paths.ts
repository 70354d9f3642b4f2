/** Where a daemon keeps what: one place that knows the directories. */

import { join } from 'node:path'

export interface Paths {
  /** The `--root` given, or `/`. */
  readonly root: string
  /** The embedded store. */
  readonly store: string
  /** The API's unix socket; mode 0600. */
  readonly socket: string
  /** A directory a container: its /etc files, its log, its exit code. */
  readonly containers: string
  /** What a daemon in the background prints. */
  readonly daemonLog: string
}

/** Without `root`: /var/lib/portolan and /run/portolan. With it, everything is below it. */
export function pathsOf(root?: string): Paths {
  const state = root === undefined ? '/var/lib/portolan' : join(root, 'state')
  const run = root === undefined ? '/run/portolan' : join(root, 'run')
  return {
    root: root ?? '/',
    store: join(state, 'store'),
    socket: join(run, 'portolan.sock'),
    containers: join(state, 'containers'),
    daemonLog: join(state, 'daemon.log'),
  }
}
