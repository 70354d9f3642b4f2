import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isAlive, readIdentity, stopProcess, watchProcess } from '../../src/runtime/index.js'
import type { ProcessExit } from '../../src/runtime/index.js'
import {
  asRoot,
  countProcesses,
  PATH,
  remove,
  temporaryFolder,
  testPoller,
  until,
} from './container.js'

/** Starts a container from a process of its own and kills that process with SIGKILL. */
async function startAndDie(runDir: string, argv: readonly string[], signs: string): Promise<void> {
  const starter = fileURLToPath(new URL('./starter.js', import.meta.url))
  const child = spawn(process.execPath, [starter, runDir, PATH, ...argv], { stdio: 'inherit' })
  const ended = new Promise(resolve => child.once('exit', resolve))
  await until(() => existsSync(join(runDir, signs)), `the starter wrote "${signs}"`)
  child.kill('SIGKILL')
  await ended
}

t.test('a container outlives its daemon and the next one adopts it', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const poller = testPoller(t)
  await startAndDie(runDir, ['sleep', '100'], 'app')
  const identity = readIdentity(runDir)
  if (identity === undefined) throw new Error('no identity was recorded')
  t.teardown(() => remove(identity))
  await until(() => readIdentity(runDir)?.appPid !== undefined, 'the app has recorded itself')
  const adopted = readIdentity(runDir) ?? identity
  t.equal(isAlive(adopted), true)
  const ended = new Promise<ProcessExit>(resolve => watchProcess(adopted, poller, resolve))
  await stopProcess(adopted, poller)
  t.match(await ended, { code: 143, isRecorded: true })
})

t.test('an exit while no daemon was there is found by the next one', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const poller = testPoller(t)
  const script = `until [ -e ${runDir}/end ]; do sleep 0.01; done; exit 5`
  await startAndDie(runDir, ['sh', '-c', script], 'app')
  const identity = readIdentity(runDir)
  if (identity === undefined) throw new Error('no identity was recorded')
  t.teardown(() => remove(identity))
  writeFileSync(join(runDir, 'end'), '')
  await until(() => !isAlive(identity), 'the app has ended')
  const exit = await new Promise<ProcessExit>(resolve => watchProcess(identity, poller, resolve))
  t.match(exit, { code: 5, isRecorded: true })
})

t.test('a daemon killed before its record is written leaves no container', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const sign = join(runDir, 'ran')
  const starter = fileURLToPath(new URL('./starter.js', import.meta.url))
  const child = spawn(process.execPath, [starter, runDir, PATH, 'touch', sign], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, DIE_BEFORE_RECORD: '1' },
  })
  let text = ''
  child.stdout.on('data', bytes => (text += String(bytes)))
  await new Promise(resolve => child.once('close', resolve))
  const initPid = Number(text)
  t.ok(initPid > 0, 'the init was born')
  await until(() => countProcesses([initPid]) === 0, 'the init has ended by itself')
  t.equal(existsSync(sign), false, 'the app never ran')
})
