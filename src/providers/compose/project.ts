/**
 * Compose files to a checked project: what stands in the files, variables put in, short forms written
 * out, files merged, and every key that matters here checked. Pure: no file system, no process.
 */

import { basename } from 'node:path'
import type { z } from 'zod'
import type { ProjectSpec } from '../../catalog/project.js'
import { canonicalProject } from './canonical.js'
import { parseDocuments, type ComposeFile } from './document.js'
import { ComposeError } from './error.js'
import { unsetVariable, type Surroundings } from './environment.js'
import { resolveExtends } from './extends.js'
import { interpolate, lookUp, type Variables } from './interpolate.js'
import { mergeTrees } from './merge.js'
import { normaliseProjectName, projectNameProblem, shorten } from './name.js'
import { resolveNetworks } from './network.js'
import { Place, Report } from './report.js'
import { projectSchema, type DeclaredProject, type DeclaredService } from './schema.js'
import { resolveServices } from './service.js'
import {
  child,
  findPosition,
  mapEntries,
  mapping,
  plainValue,
  type Path,
  type Tree,
} from './tree.js'
import { ignoredKeyWarnings, pruneProject, type IgnoredKeys } from './vocabulary.js'

export interface ParseOptions extends Surroundings {
  /** At least one; a later file is laid over those before it. */
  readonly files: readonly ComposeFile[]
  /** `-p`; wins over COMPOSE_PROJECT_NAME, `name` in the files, and the directory's name. */
  readonly projectName?: string | undefined
  /** `--profile`, beside those of COMPOSE_PROFILES; `*` enables all. */
  readonly profiles?: readonly string[] | undefined
}

export interface ParsedProject {
  readonly project: ProjectSpec
  /** One sentence each. */
  readonly warnings: readonly string[]
}

interface Issue {
  readonly path: Path
  readonly message: string
}

/** Reads a project. Throws ComposeError, which lists every problem found. */
export function parseProject(options: ParseOptions): ParsedProject {
  const report = new Report(options.files.map(file => file.path))
  const documents = options.files.flatMap(file => parseFile(file, report))
  report.throwProblems()
  const name = resolveProjectName(options, documents, report)
  const tree = joinDocuments(documents, name, options, report)
  const declared = validate(tree, report)
  const place = new Place(report, tree)
  const networks = resolveNetworks(name, declared.networks ?? {}, place.at('networks'))
  const neighbours = selectServices(declared.services ?? {}, options)
  if (neighbours.enabled.size === 0) {
    if (neighbours.disabled.size === 0) place.missing('the project declares no services')
    else report.warn('every service is left out, because none of its profiles is enabled')
  }
  const { services, networks: used } = resolveServices(
    name,
    neighbours,
    networks,
    options,
    place.at('services'),
  )
  report.throwProblems()
  const project: ProjectSpec = {
    name,
    networks: [...networks.values()]
      .filter(network => used.has(network.key))
      .map(({ key, spec, isExternal }) => ({ key, spec, isExternal })),
    services,
  }
  return { project, warnings: report.warnings }
}

function parseFile(file: ComposeFile, report: Report): readonly Tree[] {
  const trees = parseDocuments(file, report)
  for (const tree of trees) {
    if (tree.kind !== 'map') {
      report.problem(tree.position, [], 'a Compose file is a mapping that begins with services:')
    }
  }
  return trees
}

/** Each document by itself as far as that goes, then one laid over the other. */
function joinDocuments(
  documents: readonly Tree[],
  name: string,
  options: ParseOptions,
  report: Report,
): Tree {
  const ignored: IgnoredKeys = new Map()
  const variables: Variables = {
    // Compose sets this one for every file.
    environment: { ...options.environment, COMPOSE_PROJECT_NAME: name },
    onUnset: variable => report.warn(unsetVariable(variable)),
  }
  const trees = documents.map(document => {
    const pruned = pruneProject(document, report, ignored)
    const filled = interpolateTree(pruned, variables, report)
    return resolveExtends(canonicalProject(filled, report), report)
  })
  for (const warning of ignoredKeyWarnings(ignored)) report.warn(warning)
  const start = { file: options.files[0]?.path ?? 'compose.yaml', line: 1 }
  return trees.length === 0
    ? mapping([], start)
    : trees.reduce((below, above) => mergeTrees(below, above, report))
}

function interpolateTree(tree: Tree, variables: Variables, report: Report, path: Path = []): Tree {
  if (tree.kind === 'list') {
    const items = tree.items.map((item, i) =>
      interpolateTree(item, variables, report, [...path, i]),
    )
    return { ...tree, items }
  }
  if (tree.kind === 'map') {
    return mapEntries(tree, (value, key) =>
      interpolateTree(value, variables, report, [...path, key]),
    )
  }
  if (typeof tree.value !== 'string' || !tree.value.includes('$')) return tree
  const result = interpolate(tree.value, variables)
  if (result.kind === 'text') return { ...tree, value: result.text }
  report.problem(tree.position, path, result.message)
  // As if it were not there, so that nothing else is said about it.
  return { ...tree, value: null, mark: 'reset' }
}

/** Checks the shape of the whole. Throws what has been reported so far together with what it finds. */
function validate(tree: Tree, report: Report): DeclaredProject {
  const parsed = projectSchema.safeParse(plainValue(tree))
  if (!parsed.success) {
    for (const { path, message } of innermost(parsed.error.issues, [])) {
      report.problem(findPosition(tree, path), path, message)
    }
    report.throwProblems()
  }
  return parsed.data ?? {}
}

/** The issues of a choice between forms are those of the form that fits as far as it goes. */
function innermost(issues: readonly z.core.$ZodIssue[], parent: Path): readonly Issue[] {
  return issues.flatMap(issue => {
    const own = issue.path.map(key => (typeof key === 'number' ? key : String(key)))
    const path = [...parent, ...own]
    const forms = issue.code === 'invalid_union' ? issue.errors : []
    const fitting = forms.find(form => form.some(inner => inner.path.length > 0))
    return fitting === undefined ? [{ path, message: issue.message }] : innermost(fitting, path)
  })
}

function resolveProjectName(
  options: ParseOptions,
  documents: readonly Tree[],
  report: Report,
): string {
  const given =
    options.projectName ?? (lookUp(options.environment, 'COMPOSE_PROJECT_NAME') || undefined)
  if (given !== undefined) {
    const problem = projectNameProblem(given)
    if (problem !== undefined) throw new ComposeError('COMPOSE_INVALID', [problem])
    return given
  }
  // The last file that has one decides.
  for (const document of [...documents].reverse()) {
    const declared = child(document, 'name')
    if (declared?.kind !== 'scalar' || declared.value === null) continue
    const text = interpolate(String(declared.value), {
      environment: options.environment,
      onUnset: variable => report.warn(unsetVariable(variable)),
    })
    const problem = text.kind === 'problem' ? text.message : projectNameProblem(text.text)
    if (text.kind === 'text' && problem === undefined) return text.text
    report.problem(findPosition(document, ['name']), ['name'], problem ?? '')
    return 'unnamed'
  }
  const name = normaliseProjectName(basename(options.projectDirectory)).slice(0, 63)
  if (name !== '') return name
  const directory = shorten(options.projectDirectory)
  throw new ComposeError('COMPOSE_INVALID', [
    `no project name can be made of the directory "${directory}"; give one with -p or as name:`,
  ])
}

/** Which services the enabled profiles leave. */
function selectServices(
  services: Readonly<Record<string, DeclaredService>>,
  options: ParseOptions,
): { enabled: ReadonlyMap<string, DeclaredService>; disabled: ReadonlySet<string> } {
  const fromEnvironment = lookUp(options.environment, 'COMPOSE_PROFILES') ?? ''
  const profiles = new Set([...(options.profiles ?? []), ...fromEnvironment.split(',')])
  const enabled = new Map<string, DeclaredService>()
  const disabled = new Set<string>()
  for (const [name, service] of Object.entries(services)) {
    const wanted = service.profiles ?? []
    const isEnabled =
      wanted.length === 0 ||
      profiles.has('*') ||
      wanted.some(profile => profiles.has(profile.trim()))
    if (isEnabled) enabled.set(name, service)
    else disabled.add(name)
  }
  return { enabled, disabled }
}
