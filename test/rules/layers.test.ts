/** Holds the import directions and the shape of the tree. */

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { describeBreach, partOf } from './layers.js'
import { findRoot, listFiles, parseSource, readSource } from './source.js'

const root = findRoot()
const tops = ['src', 'resolver', 'mesh'].filter(top => existsSync(join(root, top)))
const paths = tops.flatMap(top => listFiles(root, top))
const files = paths.filter(path => path.endsWith('.ts')).map(path => readSource(root, path))

t.test('imports go one way', async t => {
  const breaches = files.flatMap(({ path, imports }) =>
    imports.flatMap(edge => describeBreach(path, edge) ?? []),
  )
  t.strictSame(breaches, [])
  t.ok(files.length > 10, 'the tree was found')
})

t.test('relative imports stay in src, resolver and mesh', async t => {
  const strays = files.flatMap(({ path, imports }) =>
    imports.flatMap(({ target }) =>
      target === undefined || tops.some(top => target.startsWith(`${top}/`))
        ? []
        : [`${path} imports ${target}, which is no code of the program`],
    ),
  )
  t.strictSame(strays, [])
})

t.test('src/base is five files, not a dump', async t => {
  const base = paths.filter(path => path.startsWith('src/base/') && path.endsWith('.ts'))
  const names = ['clock', 'error', 'ip', 'lifetime', 'log']
  t.strictSame(
    base,
    names.map(name => `src/base/${name}.ts`),
  )
})

t.test('every file of src is in a part', async t => {
  t.strictSame(
    paths.filter(path => partOf(path) === undefined),
    [],
  )
})

t.test('no default exports: a thing has one name', async t => {
  t.strictSame(
    files.filter(file => file.hasDefaultExport).map(file => file.path),
    [],
  )
})

t.test('no export *: an index lists its names', async t => {
  t.strictSame(
    files.filter(file => file.hasExportStar).map(file => file.path),
    [],
  )
})

t.test('no file and no folder is named for what it is not', async t => {
  const vague = /^(utils?|helpers?|common|misc|types?)(\.|$)/
  t.strictSame(
    paths.filter(path => path.split('/').some(part => vague.test(part))),
    [],
  )
})

t.test('a folder does not import its own index, which would be a cycle', async t => {
  const cycles = files.flatMap(({ path, imports }) =>
    imports.flatMap(({ target }) =>
      target !== undefined && basename(target) === 'index.ts' && dirname(target) === dirname(path)
        ? [`${path} imports its own index`]
        : [],
    ),
  )
  t.strictSame(cycles, [])
})

t.test('the top level holds code folders, documents and configuration only', async t => {
  const folders = ['src', 'resolver', 'mesh', 'test', 'benchmarks', 'examples']
  const isDocument = (name: string): boolean => name.endsWith('.md') || name === 'LICENSE'
  const isConfiguration = (name: string): boolean =>
    name.startsWith('.') || /^(package(-lock)?|tsconfig(\..+)?)\.json$|\.config\.js$/.test(name)
  const ignored = readFileSync(join(root, '.gitignore'), 'utf8').split('\n')
  const isIgnored = (name: string): boolean =>
    ignored.some(
      line => line === `${name}/` || line === name || line === name.replace(/^.*\./, '*.'),
    )
  const strays = readdirSync(root).filter(
    name =>
      !folders.includes(name) && !isDocument(name) && !isConfiguration(name) && !isIgnored(name),
  )
  t.strictSame(strays, [])
})

t.test('describeBreach() tells a forbidden edge from an allowed one', async t => {
  const cases: readonly (readonly [string, string, RegExp | undefined])[] = [
    ['resolver/zone.ts', `import { Mesh } from '../mesh/mesh.js'`, /knows zones and not Docker/],
    [
      'resolver/zone.ts',
      `import type { Network } from '../src/catalog/network.js'`,
      /resolver must not/,
    ],
    ['resolver/zone.ts', `export { a } from '../src/kernel/nft.js'`, /resolver must not/],
    ['resolver/zone.ts', `import { parseAddress } from '../src/base/ip.js'`, undefined],
    ['resolver/listen/tcp.ts', `const x = await import('../../src/daemon/daemon.js')`, /must not/],
    ['resolver/zone.ts', `let x: import('../src/catalog/network.js').Network`, /must not/],
    ['src/plan/zones.ts', `import type { NetworkNames } from '../../resolver/zone.js'`, undefined],
    ['src/plan/zones.ts', `import { type NetworkNames } from '../../resolver/zone.js'`, undefined],
    [
      'src/plan/zones.ts',
      `import { compileZone } from '../../resolver/zone.js'`,
      /more than types/,
    ],
    ['src/plan/zones.ts', `import { open } from '../kernel/nft.js'`, /it is pure/],
    [
      'src/runtime/start.ts',
      `import type { ContainerSpec } from '../catalog/service.js'`,
      undefined,
    ],
    ['src/runtime/start.ts', `import { check } from '../catalog/check.js'`, /more than types/],
    [
      'src/cli/ps.ts',
      `const { run } = await import('../daemon/daemon.js')`,
      /must not load a daemon/,
    ],
    ['src/cli/daemon.ts', `const { run } = await import('../daemon/daemon.js')`, undefined],
    ['src/cli/daemon.ts', `import { run } from '../daemon/daemon.js'`, /must not load a daemon/],
    ['src/daemon/daemon.ts', `import { main } from '../cli/main.js'`, /composes the rest/],
    ['src/daemon/daemon.ts', `import { Resolver } from '../../resolver/index.js'`, undefined],
    ['mesh/mesh.ts', `import { Ipvs } from 'node-ipvs'`, undefined],
    ['resolver/zone.ts', `import { Ipvs } from 'node-ipvs'`, /resolver must not/],
    ['src/drivers/bridge.ts', `import { u8 } from 'node-ipvs/wire'`, /src\/drivers must not/],
    [
      'mesh/node-ipvs/index.ts',
      `import { log } from '../../src/base/log.js'`,
      /package of its own/,
    ],
    ['src/stray/x.ts', `import { log } from '../base/log.js'`, /no layer is named src\/stray/],
  ]
  for (const [path, text, expected] of cases) {
    const [edge] = parseSource(path, text).imports
    const breach = edge && describeBreach(path, edge)
    if (expected === undefined) t.equal(breach, undefined, `${path}: ${text}`)
    else t.match(breach, expected, `${path}: ${text}`)
  }
})

t.test('parseSource() finds default and star exports', async t => {
  const defaults = [
    'export default 1',
    'export default class {}',
    'const a = 1; export { a as default }',
  ]
  for (const text of defaults) t.ok(parseSource('a.ts', text).hasDefaultExport, text)
  t.notOk(parseSource('a.ts', 'export const a = 1').hasDefaultExport)
  t.ok(parseSource('a.ts', `export * from './b.js'`).hasExportStar)
  t.notOk(parseSource('a.ts', `export * as b from './b.js'`).hasExportStar)
})
