/** The source tree as the rules see it: files, and what each imports and exports. */

import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, posix, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** `type`: gone after compiling. `dynamic`: `import()`, loaded when it runs. */
export type ImportKind = 'value' | 'type' | 'dynamic'

export interface Import {
  /** As written: `../base/ip.js`. */
  readonly specifier: string
  readonly kind: ImportKind
  /** The file of ours, from the root, `src/base/ip.ts`; undefined for a package. */
  readonly target?: string
}

export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string
  readonly imports: readonly Import[]
  readonly hasDefaultExport: boolean
  readonly hasExportStar: boolean
}

/** Above which no search for the root goes. */
const MOST_LEVELS = 8

/** The folder of the package.json above this file: this runs from the compiled tree as well. */
export function findRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url))
  for (let level = 0; level < MOST_LEVELS; level++) {
    if (readdirSync(directory).includes('tsconfig.json')) return directory
    directory = dirname(directory)
  }
  throw new Error('no tsconfig.json above the tests')
}

/** Paths of all files below `folder`, from `root`; empty where there is no such folder. */
export function listFiles(root: string, folder: string): readonly string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => relative(root, join(entry.parentPath, entry.name)).split('\\').join('/'))
    .filter(path => !/\/(node_modules|dist)\//.test(path))
    .sort()
}

export function readSource(root: string, path: string): SourceFile {
  return parseSource(path, readFileSync(join(root, path), 'utf8'))
}

export function parseSource(path: string, text: string): SourceFile {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, false)
  const imports: Import[] = []
  let hasDefaultExport = false
  let hasExportStar = false
  const visit = (node: ts.Node): void => {
    const found = importOf(node)
    if (found !== undefined) imports.push(resolve(path, ...found))
    if (ts.isExportDeclaration(node) && node.exportClause === undefined) hasExportStar = true
    if (isDefaultExport(node)) hasDefaultExport = true
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return { path, imports, hasDefaultExport, hasExportStar }
}

function importOf(node: ts.Node): readonly [specifier: string, kind: ImportKind] | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return [node.moduleSpecifier.text, isTypeImport(node.importClause) ? 'type' : 'value']
  }
  if (
    ts.isExportDeclaration(node) &&
    node.moduleSpecifier &&
    ts.isStringLiteral(node.moduleSpecifier)
  ) {
    return [node.moduleSpecifier.text, isTypeExport(node) ? 'type' : 'value']
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    return ts.isStringLiteral(node.argument.literal)
      ? [node.argument.literal.text, 'type']
      : undefined
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    const [argument] = node.arguments
    return argument && ts.isStringLiteralLike(argument) ? [argument.text, 'dynamic'] : undefined
  }
  return undefined
}

function isTypeImport(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false
  if (clause.isTypeOnly) return true
  const { name, namedBindings } = clause
  if (name !== undefined || namedBindings === undefined) return false
  return ts.isNamedImports(namedBindings) && namedBindings.elements.every(one => one.isTypeOnly)
}

function isTypeExport(node: ts.ExportDeclaration): boolean {
  if (node.isTypeOnly) return true
  const clause = node.exportClause
  return (
    clause !== undefined &&
    ts.isNamedExports(clause) &&
    clause.elements.every(one => one.isTypeOnly)
  )
}

function isDefaultExport(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true
  if (ts.isExportSpecifier(node)) return node.name.text === 'default'
  const modifiers = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []) : []
  return modifiers.some(one => one.kind === ts.SyntaxKind.DefaultKeyword)
}

/** Packages of this repository, which are imported by their names. */
const WORKSPACES: Readonly<Record<string, string>> = {
  'node-ipvs': 'mesh/node-ipvs/index.ts',
  'node-ipvs/wire': 'mesh/node-ipvs/wire/index.ts',
}

function resolve(path: string, specifier: string, kind: ImportKind): Import {
  if (!specifier.startsWith('.')) {
    const workspace = WORKSPACES[specifier]
    return workspace === undefined ? { specifier, kind } : { specifier, kind, target: workspace }
  }
  const target = posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts')
  return { specifier, kind, target }
}
