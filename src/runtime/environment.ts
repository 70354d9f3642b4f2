/**
 * Decides how an environment reaches the app unchanged through the init's shell. Pure.
 *
 * A shell hands on what it was started with, except names it cannot spell (`discovery.type`) and
 * names that mean something to itself or to its loader. Those are set by `env` right before the
 * app. The rest never appears on a command line, which every user of the host can read.
 */

import { RuntimeError } from './error.js'

export type Environment = Readonly<Record<string, string>>

export interface EnvironmentPlan {
  /** `NAME=value` the init's shell starts with. */
  readonly inherited: readonly string[]
  /** Words that come before the app's own: empty, or an `env` command. */
  readonly prefix: readonly string[]
}

/** What POSIX lets a shell variable be called. */
const SHELL_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
/** Read or rewritten by dash, bash, busybox or ld.so; `__portolan` is the init script's own. */
const SPECIAL_NAME = new RegExp(
  '^(?:LD_\\w*|GLIBC_TUNABLES|BASH\\w*|SHELLOPTS|POSIXLY_CORRECT|ENV|IFS|PWD|OLDPWD|PPID|SHLVL|_' +
    '|OPTIND|OPTARG|OPTERR|PS[0-4]|E?UID|LINENO|RANDOM|SECONDS|EPOCH\\w*|FUNCNAME|GROUPS|DIRSTACK' +
    '|PIPESTATUS|HISTCMD|COMP_\\w*|__portolan\\w*)$',
)
/** What bash adds of its own; dash and busybox add at most PWD and OLDPWD. */
const ADDED_BY_SHELL = ['_', 'SHLVL', 'PWD', 'OLDPWD']

/** `NAME=value` words. Throws RuntimeError `RUNTIME_BAD_SPECIFICATION` for what execve cannot carry. */
export function composeEnvironment(environment: Environment): string[] {
  return Object.entries(environment).map(([name, value]) => {
    if (name === '' || name.includes('=') || name.includes('\0') || value.includes('\0')) {
      throw new RuntimeError(
        'RUNTIME_BAD_SPECIFICATION',
        `Cannot set the environment variable "${name.replaceAll('\0', '\\0')}": a name must not ` +
          'be empty or hold "=", and neither name nor value may hold a NUL byte',
      )
    }
    return `${name}=${value}`
  })
}

/** Splits `environment`; `isPlainShell` says that /bin/sh adds no variable of its own but PWD. */
export function planEnvironment(environment: Environment, isPlainShell: boolean): EnvironmentPlan {
  const words = composeEnvironment(environment)
  const isOdd = (word: string): boolean => {
    const name = word.slice(0, word.indexOf('='))
    return !SHELL_NAME.test(name) || SPECIAL_NAME.test(name)
  }
  const odd = words.filter(isOdd)
  const inherited = words.filter(word => !isOdd(word))
  if (odd.length === 0 && isPlainShell) return { inherited, prefix: [] }
  const unset = isPlainShell ? [] : ADDED_BY_SHELL.flatMap(name => ['-u', name])
  return { inherited, prefix: ['/usr/bin/env', ...unset, ...odd] }
}
