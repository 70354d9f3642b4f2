/**
 * Writes the /etc files of a container where they lie, for they are mounted by inode: a file put in
 * their place by rename would never be seen inside.
 */

import { createHash } from 'node:crypto'
import { closeSync, constants, ftruncateSync, openSync, readFileSync } from 'node:fs'
import { writeFileSync, writeSync } from 'node:fs'
import { errorCode } from '../base/error.js'
import { isAlive } from './identity.js'
import type { ProcessIdentity } from '../catalog/container.js'
import { bindFiles, missingFiles } from './mounts.js'
import type { ContainerFiles } from './mounts.js'
import { runInNamespaces } from './namespaces.js'

/** `kept`: somebody edited the file since we wrote it, so it is theirs now. */
export type Rewrite = 'written' | 'unchanged' | 'kept'

/**
 * Writes `text` to `path` in place, unless the file was edited since the last call (Docker's rule
 * for resolv.conf: the hash of what we wrote lies beside it in `PATH.hash`). `isFresh` writes
 * whatever is there: a container's start regenerates its files.
 */
export function rewriteFile(path: string, text: string, isFresh = false): Rewrite {
  const present = readOptional(path)
  const known = readOptional(`${path}.hash`)?.toString('latin1').trim()
  if (!isFresh && present !== undefined && known !== undefined && hash(present) !== known) {
    return 'kept'
  }
  const bytes = Buffer.from(text)
  if (known !== hash(bytes)) writeFileSync(`${path}.hash`, hash(bytes))
  if (present?.equals(bytes)) return 'unchanged'
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644)
  try {
    // Cut after the write, not before: no reader finds an empty file.
    writeSync(fd, bytes, 0, bytes.length, 0)
    ftruncateSync(fd, bytes.length)
  } finally {
    closeSync(fd)
  }
  return 'written'
}

/**
 * Puts back the files of a running container that a program on the host took away by renaming
 * another over the host's own (NetworkManager and resolvconf do), and names them. The daemon calls
 * this when the host's /etc changes.
 */
export function repairFiles(
  identity: ProcessIdentity,
  files: ContainerFiles,
): readonly (keyof ContainerFiles)[] {
  if (!isAlive(identity)) return []
  const fd = openSync(`/proc/${identity.initPid}/ns/mnt`, constants.O_RDONLY)
  try {
    return runInNamespaces({ fresh: [], joined: [{ kind: 'mnt', fd }] }, () => {
      const missing = missingFiles(files)
      bindFiles(Object.fromEntries(missing.map(kind => [kind, files[kind]])))
      return missingFiles(files).length === 0 ? missing : []
    })
  } finally {
    closeSync(fd)
  }
}

function hash(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function readOptional(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
