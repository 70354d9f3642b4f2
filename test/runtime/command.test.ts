import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findCommand } from '../../src/runtime/command.js'
import { temporaryFolder } from './container.js'

/** A folder with `bin/tool` (program), `etc/tool` (text) and `bin/folder/`. */
function fixture(test: Parameters<typeof temporaryFolder>[0]): string {
  const root = temporaryFolder(test)
  for (const name of ['bin', 'etc', 'bin/folder']) mkdirSync(join(root, name))
  writeFileSync(join(root, 'bin/tool'), '#!/bin/sh\n')
  chmodSync(join(root, 'bin/tool'), 0o755)
  writeFileSync(join(root, 'etc/tool'), 'text\n')
  chmodSync(join(root, 'etc/tool'), 0o644)
  return root
}

for (const [name, word, path, expected] of [
  ['by PATH', 'tool', 'ROOT/bin', 'bin/tool'],
  ['past a file that may not be run', 'tool', 'ROOT/etc:ROOT/bin', 'bin/tool'],
  ['by a relative entry of PATH', 'tool', 'bin', 'bin/tool'],
  ['by a relative path', './bin/tool', '/nonexistent', 'bin/tool'],
  ['by an absolute path', 'ROOT/bin/tool', '', 'bin/tool'],
] as const) {
  t.test(`findCommand() finds a program ${name}`, async t => {
    const root = fixture(t)
    const found = findCommand({
      purpose: 'start "a"',
      argv: [word.replace('ROOT', root)],
      path: path.replaceAll('ROOT', root),
      workingDirectory: root,
    })
    t.equal(found, join(root, expected))
  })
}

for (const [name, word, path, code] of [
  ['a missing program', 'nope', 'ROOT/bin', 'RUNTIME_COMMAND_NOT_FOUND'],
  ['a folder', 'folder', 'ROOT/bin', 'RUNTIME_COMMAND_NOT_EXECUTABLE'],
  ['a text file', 'tool', 'ROOT/etc', 'RUNTIME_COMMAND_NOT_EXECUTABLE'],
  ['a path through a file', 'ROOT/bin/tool/x', '', 'RUNTIME_COMMAND_NOT_FOUND'],
  ['an empty word', '', 'ROOT/bin', 'RUNTIME_BAD_SPECIFICATION'],
] as const) {
  t.test(`findCommand() rejects ${name}`, async t => {
    const root = fixture(t)
    const lookup = {
      purpose: 'start "a"',
      argv: [word.replace('ROOT', root)],
      path: path.replace('ROOT', root),
      workingDirectory: root,
    }
    t.throws(() => findCommand(lookup), { code })
  })
}
