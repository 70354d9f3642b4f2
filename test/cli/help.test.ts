import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const commandLine = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

function run(...args: readonly string[]): {
  stdout: string
  stderr: string
  status: number | null
} {
  return spawnSync(process.execPath, [commandLine, ...args], { encoding: 'utf8' })
}

/** The commands that a help text lists. */
function commandsOf(help: string): string[] {
  const list = help.split('Commands:\n')[1]?.split('\n\n')[0] ?? ''
  const names = list.split('\n').map(line => /^ {2}([a-z]+)/.exec(line)?.[1])
  return names.filter(name => name !== undefined && name !== 'help') as string[]
}

t.test('every command has --help with an example, and ends with 0', async t => {
  const top = commandsOf(run('--help').stdout)
  t.ok(top.length >= 14, top.join(' '))
  const nested = commandsOf(run('network', '--help').stdout).map(name => ['network', name])
  for (const words of [...top.map(name => [name]), ...nested]) {
    const { stdout, status } = run(...words, '--help')
    t.equal(status, 0, words.join(' '))
    t.match(stdout, /\nExample:\n {2}portolan /, words.join(' '))
  }
})

t.test('--version is that of the package', async t => {
  t.match(run('--version').stdout, /^\d+\.\d+\.\d+/)
})

t.test('a listing piped into head ends well', async t => {
  const { status } = spawnSync('sh', [
    '-c',
    `"${process.execPath}" "${commandLine}" --help | head -1`,
  ])
  t.equal(status, 0)
})

t.test('without a daemon a command says how to start one', async t => {
  const root = mkdtempSync(join(tmpdir(), 'portolan-cli-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  for (const words of [['ps'], ['network', 'ls'], ['status', '--json'], ['down', '-p', 'x']]) {
    const { status, stdout, stderr } = run('--root', root, ...words)
    t.equal(status, 1, words.join(' '))
    t.equal(stdout, '')
    t.match(stderr, /^portolan: No daemon answers at [^\n]+`portolan up`[^\n]+\n$/)
  }
})
