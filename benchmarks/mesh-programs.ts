/** Programs that a benchmark runs: looked for, and installed where that starts nothing. */

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'

export interface Program {
  readonly program: string
  /** Debian's. */
  readonly packages: readonly string[]
}

const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/libexec/docker']
const INSTALL_TIMEOUT_MS = 120_000

/** Undefined when all are there now; otherwise one phrase that says what is missing. */
export function provide(programs: readonly Program[]): string | undefined {
  const absent = programs.filter(({ program }) => !isThere(program))
  if (absent.length === 0) return undefined
  const packages = absent.flatMap(one => one.packages)
  if (canInstall()) install(packages)
  const still = absent.filter(({ program }) => !isThere(program)).map(one => one.program)
  if (still.length === 0) return undefined
  return `${still.join(', ')} not found; \`apt-get install ${packages.join(' ')}\` gets it`
}

/** Where an init system runs, packages of servers start them. */
function canInstall(): boolean {
  return existsSync('/usr/bin/apt-get') && !existsSync('/run/systemd/system')
}

function install(packages: readonly string[]): void {
  console.error(`installing Debian packages: ${packages.join(' ')}`)
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
  const words = ['install', '-y', '-qq', '--no-install-recommends', ...packages]
  spawnSync('apt-get', words, { ...options, stdio: 'ignore', timeout: INSTALL_TIMEOUT_MS })
}

function isThere(program: string): boolean {
  return FOLDERS.some(folder => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
