/** Collects problems and warnings while a project is read, so that a user sees all of them at once. */

import { ComposeError, type ComposeErrorCode } from './error.js'
import { findPosition, formatPath, type Path, type Position, type Tree } from './tree.js'

interface Problem {
  readonly position: Position
  readonly path: Path
  readonly sentence: string
}

export class Report {
  readonly #files: readonly string[]
  readonly #problems = new Map<string, Problem>()
  readonly #warnings = new Set<string>()
  #code: ComposeErrorCode = 'COMPOSE_INVALID'

  /** `files` gives the order in which problems are listed. */
  constructor(files: readonly string[]) {
    this.#files = files
  }

  get warnings(): readonly string[] {
    return [...this.#warnings]
  }

  warn(sentence: string): void {
    this.#warnings.add(sentence)
  }

  problem(position: Position, path: Path, message: string): void {
    const key = path.length === 0 ? '' : `${formatPath(path)}: `
    const sentence = `${position.file}:${position.line}: ${key}${message}`
    // What stands once and is used twice, by an alias, is wrong once.
    if (!this.#problems.has(sentence)) this.#problems.set(sentence, { position, path, sentence })
  }

  /** Whether something at or below `path` has been reported. */
  hasProblem(path: Path): boolean {
    return [...this.#problems.values()].some(problem =>
      path.every((key, i) => problem.path[i] === key),
    )
  }

  syntaxProblem(position: Position, message: string): void {
    this.#code = 'COMPOSE_SYNTAX'
    this.problem(position, [], message)
  }

  /** Throws ComposeError where a problem has been reported since the beginning. */
  throwProblems(): void {
    if (this.#problems.size === 0) return
    const order = (problem: Problem) => this.#files.indexOf(problem.position.file)
    const sorted = [...this.#problems.values()].sort(
      (a, b) => order(a) - order(b) || a.position.line - b.position.line,
    )
    throw new ComposeError(
      this.#code,
      sorted.map(problem => problem.sentence),
    )
  }
}

/** A path in a tree: what a check needs to say where something is wrong. */
export class Place {
  readonly #report: Report
  readonly #root: Tree
  readonly #path: Path

  constructor(report: Report, root: Tree, path: Path = []) {
    this.#report = report
    this.#root = root
    this.#path = path
  }

  at(...keys: Path): Place {
    return new Place(this.#report, this.#root, [...this.#path, ...keys])
  }

  get position(): Position {
    return findPosition(this.#root, this.#path)
  }

  problem(message: string): void {
    this.#report.problem(this.position, this.#path, message)
  }

  /** Something is absent: said only where nothing that is there has been found wrong. */
  missing(message: string): void {
    if (!this.#report.hasProblem(this.#path)) this.problem(message)
  }

  /** A warning about this place. */
  warn(message: string): void {
    const { file, line } = this.position
    this.#report.warn(`${file}:${line}: ${formatPath(this.#path)}: ${message}`)
  }
}
