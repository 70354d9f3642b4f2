/** The environment of a service: its env files, and over them its own variables. */

import { isAbsolute, join } from 'node:path'
import { errorMessage } from '../../base/error.js'
import { parseEnvFile } from './env-file.js'
import { interpolate, lookUp } from './interpolate.js'
import { shorten } from './name.js'
import type { Place } from './report.js'
import type { DeclaredService } from './schema.js'

/** The world outside the file. */
export interface Surroundings {
  readonly environment: Readonly<Record<string, string>>
  readonly projectDirectory: string
  /** The text of a file, undefined where there is none. Without it env files cannot be used. */
  readonly readFile?: ((path: string) => string | undefined) | undefined
}

/** The variables of `service`, which is declared at `place`. */
export function resolveEnvironment(
  service: DeclaredService,
  around: Surroundings,
  place: Place,
): Readonly<Record<string, string>> {
  const variables = new Map<string, string>()
  service.env_file?.forEach((file, i) => {
    const path = resolvePath(file.path, around)
    const at = place.at('env_file', i)
    const text = readText(path, around, at)
    if (text === null) return
    if (text !== undefined) {
      addFile({ path, text, isRaw: file.format === 'raw' }, variables, around, at)
    } else if (file.required !== false) {
      const why = around.readFile === undefined ? 'cannot be read here' : 'is not there'
      at.problem(`the file "${shorten(path)}" ${why}`)
    }
  })
  for (const [name, declared] of Object.entries(service.environment ?? {})) {
    if (name === '' || /[=\0]/.test(name)) {
      place.at('environment', name).problem(`"${shorten(name)}" is not the name of a variable`)
      continue
    }
    const value = declared ?? lookUp(around.environment, name)
    if (value === undefined) variables.delete(name)
    else variables.set(name, value)
  }
  return Object.fromEntries(variables)
}

/** A path of the file: relative ones are looked for beside it. */
export function resolvePath(path: string, around: Surroundings): string {
  return isAbsolute(path) ? path : join(around.projectDirectory, path)
}

/** The text, undefined where there is no such file, null where reading failed and that is reported. */
function readText(path: string, around: Surroundings, place: Place): string | undefined | null {
  try {
    return around.readFile?.(path)
  } catch (error) {
    place.problem(`the file "${shorten(path)}" cannot be read: ${errorMessage(error)}`)
    return null
  }
}

interface EnvFile {
  readonly path: string
  readonly text: string
  readonly isRaw: boolean
}

/** Adds the variables of `file`; a value may use the environment and those before it. */
function addFile(
  file: EnvFile,
  variables: Map<string, string>,
  around: Surroundings,
  place: Place,
): void {
  if (file.text.includes('\0')) {
    place.problem(`the file "${shorten(file.path)}" holds a NUL character`)
    return
  }
  for (const line of parseEnvFile(file.text, file.isRaw)) {
    if (line.kind === 'problem') {
      place.problem(`${file.path}:${line.line}: ${line.message}`)
    } else if (line.kind === 'inherited') {
      const value = lookUp(around.environment, line.name)
      if (value !== undefined) variables.set(line.name, value)
    } else if (line.isLiteral || !line.value.includes('$')) {
      variables.set(line.name, line.value)
    } else {
      const result = interpolate(line.value, {
        environment: { ...Object.fromEntries(variables), ...around.environment },
        onUnset: name => place.warn(`${file.path}:${line.line}: ${unsetVariable(name)}`),
      })
      if (result.kind === 'text') variables.set(line.name, result.text)
      else place.problem(`${file.path}:${line.line}: ${result.message}`)
    }
  }
}

/** The warning about a variable that is neither set nor has a default. */
export function unsetVariable(name: string): string {
  return `the variable "${name}" is not set; an empty text stands in for it`
}
