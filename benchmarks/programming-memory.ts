/** Memory of this process and of the kernel, as a benchmark sees it. */

import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

export interface Memory {
  /** Resident, after a garbage collection. */
  readonly processMegabytes: number
  /** What the kernel allocated for itself, for everybody on this computer. */
  readonly kernelMegabytes: number
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

export function readMemory(): Memory {
  collectGarbage()
  return {
    processMegabytes: megabytes('/proc/self/status', ['VmRSS']),
    kernelMegabytes: megabytes('/proc/meminfo', ['SUnreclaim', 'VmallocUsed', 'Percpu']),
  }
}

function megabytes(path: string, fields: readonly string[]): number {
  const text = readFileSync(path, 'utf8')
  const kilobytes = fields.map(field =>
    Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0),
  )
  return Math.round(kilobytes.reduce((sum, one) => sum + one, 0) / 1000)
}
