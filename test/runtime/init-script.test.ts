import { spawn } from 'node:child_process'
import { existsSync, openSync, closeSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Socket } from 'node:net'
import t from 'tap'
import { INIT_SCRIPT } from '../../src/runtime/init-script.js'
import { asRoot, PATH, temporaryFolder } from './container.js'

interface Outcome {
  readonly code: number | null
  /** What the init told the daemon. */
  readonly told: string
  readonly output: string
  readonly recorded: string | undefined
}

/** Runs the script under `shell` as PID 1, as a kernel before 6.17 has it: /proc still the host's. */
async function runInit(
  runDir: string,
  shell: string,
  word: string,
  words: readonly string[],
): Promise<Outcome> {
  const proc = openSync('/proc', 'r')
  const argv = ['--mount', '--pid', '--fork', '--kill-child', shell, '-c', INIT_SCRIPT, runDir]
  const child = spawn('unshare', [...argv, ...words], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', proc],
    env: { PATH },
  })
  closeSync(proc)
  let output = ''
  let told = ''
  child.stdout?.on('data', bytes => (output += String(bytes)))
  child.stderr?.on('data', bytes => (output += String(bytes)))
  const control = child.stdio[3]
  if (!(control instanceof Socket)) throw new Error('no control socket')
  control.on('data', bytes => (told += String(bytes)))
  control.end(word)
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  const path = join(runDir, 'exit')
  return { code, told, output, recorded: existsSync(path) ? readFileSync(path, 'utf8') : undefined }
}

const shells = ['/bin/sh', '/bin/dash', '/bin/bash', '/usr/bin/bash'].filter(existsSync)

for (const shell of new Set(shells)) {
  t.test(`the init mounts /proc itself where told to, under ${shell}`, asRoot, async t => {
    const runDir = temporaryFolder(t)
    const script = 'readlink /proc/self >&2; echo "$1"; exit 6'
    const words = ['/bin/mount', 'sh', '-c', script, 'sh', "it's"]
    const { code, told, output, recorded } = await runInit(runDir, shell, 'mount\n', words)
    t.match(output, /^\d{1,2}\n/m, '/proc is the container’s own')
    t.match(output, /^it's$/m)
    t.match(told, /^\d+\n$/)
    t.strictSame([code, recorded], [6, '6\n'])
  })

  t.test(`the init adds no variable but what env takes away, under ${shell}`, asRoot, async t => {
    const runDir = temporaryFolder(t)
    const words = [
      '/bin/mount',
      'env',
      '-u',
      '_',
      '-u',
      'SHLVL',
      '-u',
      'PWD',
      '-u',
      'OLDPWD',
      'env',
    ]
    const { output } = await runInit(runDir, shell, 'go\n', words)
    t.equal(output, `PATH=${PATH}\n`)
  })

  t.test(`the init runs nothing where the daemon is gone, under ${shell}`, asRoot, async t => {
    const runDir = temporaryFolder(t)
    const { code, output } = await runInit(runDir, shell, '', ['/bin/mount', 'echo', 'ran'])
    t.strictSame([code, output], [125, ''])
  })
}

t.test('the init says so where /proc cannot be mounted', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const words = ['/bin/false', 'echo', 'ran']
  const { code, told, output } = await runInit(runDir, '/bin/sh', 'mount\n', words)
  t.strictSame([code, told, output], [125, 'failed\n', ''])
})
