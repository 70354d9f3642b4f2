/** Composes a cpio archive in the "newc" format, which the kernel unpacks as its initrd. */

export interface CpioEntry {
  /** Relative, without a leading slash. */
  readonly path: string
  /** Absent: a folder. */
  readonly data?: Uint8Array
}

/** Files may be executed, and everything is root's. Folders must come before what they hold. */
export function composeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.map(({ path, data }, index) =>
    composeEntry(index + 1, path, data === undefined ? 0o040755 : 0o100755, data),
  )
  return Buffer.concat([...parts, composeEntry(0, 'TRAILER!!!', 0)])
}

/** Header, name and data, each padded to four bytes; Documentation/driver-api/early-userspace/buffer-format.rst. */
function composeEntry(inode: number, path: string, mode: number, data?: Uint8Array): Buffer {
  const size = data?.length ?? 0
  const [uid, gid, links, mtime, device, check] = [0, 0, 1, 0, 0, 0]
  const fields = [
    ...[inode, mode, uid, gid, links, mtime, size],
    // Major and minor of the device that holds the entry, then of the device it is.
    ...[device, device, device, device],
    ...[Buffer.byteLength(path) + 1, check],
  ]
  const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`
  return Buffer.concat([pad(Buffer.from(`${header}${path}\0`)), pad(data ?? Buffer.alloc(0))])
}

function pad(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
}
