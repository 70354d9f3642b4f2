/**
 * `npm test [-- FILTER...]`: lint and format (without a filter), then the tests whose path contains a
 * FILTER, through tap. Test files that share the machine's namespaces run one after the other.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const testRoot = fileURLToPath(new URL('.', import.meta.url))
const projectRoot = join(testRoot, '../..')

function listTests(): string[] {
  return readdirSync(testRoot, { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.test.js'))
    .sort()
}

function run(program: string, words: readonly string[]): void {
  const { status } = spawnSync(program, words, { cwd: projectRoot, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

const filters = process.argv.slice(2)
const chosen = listTests().filter(
  path => filters.length === 0 || filters.some(filter => path.includes(filter)),
)
if (chosen.length === 0) {
  process.stderr.write(`No test's path contains ${filters.map(one => `"${one}"`).join(' or ')}\n`)
  process.exit(1)
}
if (filters.length === 0) run('npm', ['run', '--silent', 'lint'])
const files = chosen.map(path => relative(projectRoot, join(testRoot, path)))
run('npx', ['tap', 'run', ...files])
