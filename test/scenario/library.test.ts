/**
 * The library as its users get it: the packed tarball, installed into an empty project, running
 * the first program of README.md. Needs the npm registry or a filled npm cache.
 */

import t from 'tap'
import { execFileSync, spawn } from 'node:child_process'
import { Resolver as NodeResolver } from 'node:dns/promises'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const INSTALL_TIMEOUT_MS = 180_000
const START_TIMEOUT_MS = 20_000

const root = findRoot(dirname(fileURLToPath(import.meta.url)))
const directory = mkdtempSync(join(tmpdir(), 'portolan-library-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

t.test('the first program of README.md resolves its names, from the packed tarball', async t => {
  const missing = install()
  if (missing !== undefined) {
    t.skip(missing, () => undefined)
    return
  }
  writeFileSync(join(directory, 'program.mjs'), firstProgram())
  const { address, port } = await start(t)
  const stub = new NodeResolver({ timeout: 2000, tries: 2 })
  stub.setServers([`${address}:${port}`])
  t.strictSame((await stub.resolve4('web')).sort(), ['10.0.1.11', '10.0.1.12'])
  t.strictSame(await stub.resolve4('web-1.shop'), ['10.0.1.11'])
  t.strictSame(await stub.reverse('10.0.1.12'), ['web-2.shop'])
  await t.rejects(stub.resolve4('nosuch.shop'), { code: 'ENOTFOUND' })
})

/** Packs and installs; returns why it cannot, where the registry is out of reach. */
function install(): string | undefined {
  // The workspace is a package of its own, which the registry has where both are published.
  const tarballs = [root, join(root, 'mesh/node-ipvs')].map(pack)
  writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }')
  try {
    const paths = tarballs.map(tarball => `./${tarball}`)
    npm(['install', ...paths, '--prefer-offline', '--no-audit', '--no-fund'])
    return undefined
  } catch (error) {
    const isOffline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTCACHED/.test(String(error))
    if (!isOffline) throw error
    return 'the tarball is not installed: the npm registry is out of reach'
  }
}

function pack(folder: string): string {
  const options = ['--json', '--ignore-scripts', '--pack-destination', directory]
  const packed: unknown = JSON.parse(npm(['pack', folder, ...options]))
  const tarball = Array.isArray(packed) ? tarballOf(packed[0]) : undefined
  if (tarball === undefined) throw new Error(`npm pack named no tarball of ${folder}`)
  return tarball
}

function npm(args: readonly string[]): string {
  return execFileSync('npm', args, {
    cwd: directory,
    encoding: 'utf8',
    stdio: 'pipe',
    timeout: INSTALL_TIMEOUT_MS,
  })
}

function tarballOf(entry: unknown): string | undefined {
  if (typeof entry !== 'object' || entry === null || !('filename' in entry)) return undefined
  return typeof entry.filename === 'string' ? entry.filename : undefined
}

function firstProgram(): string {
  const program = /```js\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1]
  if (program === undefined) throw new Error('README.md has no block of ```js')
  return program
}

/** Runs the program until the test ends; it prints `dig @ADDRESS -p PORT NAME`. */
async function start(t: Test): Promise<{ address: string; port: number }> {
  const child = spawn(process.execPath, ['program.mjs'], { cwd: directory, stdio: 'pipe' })
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return await new Promise((resolve, reject) => {
    let output = ''
    const fail = (why: string): void => reject(new Error(`the program ${why}: ${output}`))
    const timer = setTimeout(() => fail('printed no address'), START_TIMEOUT_MS)
    child.once('exit', () => fail('ended'))
    child.stderr.on('data', chunk => (output += String(chunk)))
    child.stdout.on('data', chunk => {
      output += String(chunk)
      const match = /dig @(\S+) -p (\d+) /.exec(output)
      if (match?.[1] === undefined) return
      clearTimeout(timer)
      resolve({ address: match[1], port: Number(match[2]) })
    })
  })
}

/** The repository, from the build output inside it. */
function findRoot(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from
  const parent = dirname(from)
  if (parent === from) throw new Error('there is no package.json above this test')
  return findRoot(parent)
}
