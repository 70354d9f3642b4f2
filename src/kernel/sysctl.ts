/** Kernel settings below /proc/sys, of the network namespace of the calling moment. */
import { readFileSync, writeFileSync } from 'node:fs'
import { errorCode } from '../base/error.js'
import { KernelError } from './error.js'

/** The value of `net.ipv4.ip_forward` and the like, or undefined where the kernel has no such key. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(pathOf(key), 'utf8').trim()
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Writes where the value differs; returns whether it did. Throws KernelError. */
export function writeSysctl(key: string, value: string): boolean {
  if (readSysctl(key) === value) return false
  try {
    writeFileSync(pathOf(key), value)
    return true
  } catch (cause) {
    const code = errorCode(cause) ?? 'EINVAL'
    throw new KernelError(code, `Cannot set ${key} to ${value}: ${code}`, { cause })
  }
}

function pathOf(key: string): string {
  return `/proc/sys/${key.replaceAll('.', '/')}`
}
