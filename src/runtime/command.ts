/**
 * Finds the program of a command before anything is made for it, so that a missing one is one clear
 * sentence. Looks where the calling moment's mount namespace looks.
 */

import { accessSync, constants, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { errorCode } from '../base/error.js'
import { RuntimeError } from './error.js'

/** What Docker's images set, and what a command without PATH is looked up in. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface CommandLookup {
  /** For messages: `start "shop-web-1"`. */
  readonly purpose: string
  readonly argv: readonly string[]
  /** The PATH of the container, not ours. */
  readonly path: string | undefined
  readonly workingDirectory: string
}

/**
 * The absolute path of the program. Throws RuntimeError `RUNTIME_NO_WORKING_DIRECTORY`,
 * `RUNTIME_COMMAND_NOT_FOUND`, `RUNTIME_COMMAND_NOT_EXECUTABLE`, `RUNTIME_BAD_SPECIFICATION`.
 */
export function findCommand(lookup: CommandLookup): string {
  const name = checkCommand(lookup)
  checkWorkingDirectory(lookup)
  const candidates = name.includes('/')
    ? [name]
    : (lookup.path ?? DEFAULT_PATH).split(':').map(folder => `${folder || '.'}/${name}`)
  let refused: string | undefined
  for (const candidate of candidates) {
    const path = resolve(lookup.workingDirectory, candidate)
    const found = inspect(path)
    if (found === 'executable') return path
    if (found === 'refused') refused ??= path
  }
  if (refused !== undefined) throw notExecutable(lookup.purpose, name, refused)
  throw new RuntimeError(
    'RUNTIME_COMMAND_NOT_FOUND',
    `Cannot ${lookup.purpose}: command "${name}" not found` +
      (name.includes('/') ? '' : ` in PATH "${lookup.path ?? DEFAULT_PATH}"`),
  )
}

/** The error for a program that is there and may not be run. */
export function notExecutable(purpose: string, name: string, path: string): RuntimeError {
  return new RuntimeError(
    'RUNTIME_COMMAND_NOT_EXECUTABLE',
    `Cannot ${purpose}: command "${name}" is not an executable file (${path})`,
  )
}

function checkCommand({ argv, purpose }: CommandLookup): string {
  const [name] = argv
  if (name !== undefined && name !== '' && !argv.some(word => word.includes('\0'))) return name
  throw new RuntimeError(
    'RUNTIME_BAD_SPECIFICATION',
    `Cannot ${purpose}: ${name ? 'the command holds a NUL byte' : 'no command is given'}`,
  )
}

function checkWorkingDirectory({ workingDirectory, purpose }: CommandLookup): void {
  const directory = statSync(workingDirectory, { throwIfNoEntry: false })
  if (directory?.isDirectory()) return
  throw new RuntimeError(
    'RUNTIME_NO_WORKING_DIRECTORY',
    `Cannot ${purpose}: working directory "${workingDirectory}" ` +
      (directory ? 'is not a directory' : 'does not exist'),
  )
}

function inspect(path: string): 'executable' | 'refused' | 'missing' {
  try {
    if (!statSync(path).isFile()) return 'refused'
    accessSync(path, constants.X_OK)
    return 'executable'
  } catch (error) {
    return errorCode(error) === 'EACCES' ? 'refused' : 'missing'
  }
}
