/** Short ways to call parseProject() in the tests of this folder. */

import { ComposeError } from '../../../src/providers/compose/error.js'
import {
  parseProject,
  type ParsedProject,
  type ParseOptions,
} from '../../../src/providers/compose/project.js'
import type { ServiceSpec } from '../../../src/catalog/service.js'

/** Parses files named shop.yaml, then override.yaml, in the directory /srv/demo. */
export function parse(
  texts: string | readonly string[],
  options: Partial<ParseOptions> = {},
): ParsedProject {
  const names = ['shop.yaml', 'override.yaml', 'third.yaml']
  const files = [texts].flat().map((text, i) => ({ path: names[i] ?? `${i}.yaml`, text }))
  return parseProject({ files, environment: {}, projectDirectory: '/srv/demo', ...options })
}

/** A file with one service, `web`, which has a command and the given indented lines. */
export function webWith(lines: string, rest = ''): string {
  const body = lines.split('\n').map(line => `    ${line}\n`)
  return `services:\n  web:\n    command: serve\n${body.join('')}${rest}`
}

/** A file with one network, `front`, of the given lines, which service `web` is on. */
export function frontWith(lines: string): string {
  const body = lines.split('\n').map(line => `    ${line}\n`)
  return `services: { web: { command: serve, networks: [front] } }\nnetworks:\n  front:\n${body.join('')}`
}

/** The named service of the parsed files. */
export function serviceOf(
  texts: string | readonly string[],
  options: Partial<ParseOptions> = {},
  name = 'web',
): ServiceSpec {
  const found = parse(texts, options).project.services.find(service => service.name === name)
  if (found === undefined) throw new Error(`no service ${name}`)
  return found
}

/** Every problem of files that must be refused. */
export function problemsOf(
  texts: string | readonly string[],
  options: Partial<ParseOptions> = {},
): readonly string[] {
  try {
    parse(texts, options)
  } catch (error) {
    if (error instanceof ComposeError) return error.problems
    throw error
  }
  return []
}
