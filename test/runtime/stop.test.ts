import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import {
  isAlive,
  killProcess,
  signalProcess,
  startProcess,
  stopProcess,
  watchCommand,
  watchProcess,
} from '../../src/runtime/index.js'
import type { ProcessExit } from '../../src/runtime/index.js'
import {
  asRoot,
  countProcesses,
  PATH,
  startContainer,
  temporaryFolder,
  testPoller,
  until,
} from './container.js'

/** Host pids of the children of `pid`. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter(word => word !== '')
    .map(Number)

t.test('stopProcess() ends a sleep by SIGTERM, well within its grace period', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  const from = performance.now()
  const exit = await stopProcess(identity, poller, { graceMs: 10_000 })
  t.equal(exit.code, 143)
  t.equal(exit.isRecorded, true)
  t.ok(performance.now() - from < 5_000)
  t.equal(isAlive(identity), false)
})

t.test('stopProcess() lets an app end its own way', asRoot, async t => {
  const poller = testPoller(t)
  const script = 'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.01; done'
  const { identity, log } = await startContainer(t, ['sh', '-c', script])
  await until(() => log() === 'ready\n', 'the trap is set')
  t.equal((await stopProcess(identity, poller)).code, 3)
  t.equal(log(), 'ready\nbye\n')
})

t.test(
  'stopProcess() kills an app that ignores SIGTERM after the grace period',
  asRoot,
  async t => {
    const poller = testPoller(t)
    const script = 'trap "" TERM; echo ready; while :; do sleep 0.01; done'
    const { identity, log } = await startContainer(t, ['sh', '-c', script])
    await until(() => log() === 'ready\n', 'the trap is set')
    const from = performance.now()
    const exit = await stopProcess(identity, poller, { graceMs: 200 })
    t.equal(exit.code, 137)
    t.ok(performance.now() - from >= 200, 'the grace period was granted')
    t.equal(isAlive(identity), false)
  },
)

for (const signal of ['SIGINT', 'SIGQUIT', 'USR1', 'SIGRTMIN+3']) {
  t.test(`stopProcess() sends ${signal}, and the app does not ignore it`, asRoot, async t => {
    const poller = testPoller(t)
    const { identity } = await startContainer(t, ['sleep', '100'])
    const exit = await stopProcess(identity, poller, { signal })
    const number = { SIGINT: 2, SIGQUIT: 3, USR1: 10, 'SIGRTMIN+3': 37 }[signal] ?? 0
    t.equal(exit.code, 128 + number)
  })
}

t.test('stopProcess() leaves no grandchild, not even in a session of its own', asRoot, async t => {
  const poller = testPoller(t)
  const script = 'setsid sleep 100 & (sleep 100 & sleep 100) & echo ready; wait'
  const { identity, log } = await startContainer(t, ['sh', '-c', script])
  await until(() => log() === 'ready\n', 'the children are there')
  const app = identity.appPid ?? 0
  await until(() => childrenOf(app).flatMap(childrenOf).length >= 1, 'grandchildren are there')
  const family = [...childrenOf(app), ...childrenOf(app).flatMap(childrenOf)]
  t.ok(countProcesses(family) >= 3)
  await stopProcess(identity, poller)
  t.equal(countProcesses([identity.initPid, app, ...family]), 0)
})

t.test('the init reaps orphans', asRoot, async t => {
  const script = 'for i in 1 2 3 4 5; do (sleep 0.01 &); done; echo ready; exec sleep 100'
  const { identity, log } = await startContainer(t, ['sh', '-c', script])
  await until(() => log() === 'ready\n', 'the orphans are there')
  await until(() => childrenOf(identity.initPid).length === 1, 'only the app is left')
  t.strictSame(childrenOf(identity.initPid), [identity.appPid])
})

t.test('stopProcess() of a container that has ended tells how it ended', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sh', '-c', 'exit 4'])
  await until(() => !isAlive(identity), 'it has ended')
  t.equal((await stopProcess(identity, poller)).code, 4)
  t.equal((await killProcess(identity, poller)).code, 4)
  t.equal(signalProcess(identity, 'TERM'), false)
})

t.test('stopProcess() does not touch another process that got the pid', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  const impostor = { ...identity, startTime: identity.startTime - 1 }
  const otherBoot = { ...identity, bootId: 'another' }
  for (const stranger of [impostor, otherBoot]) {
    await stopProcess(stranger, poller, { graceMs: 0 })
    t.equal(signalProcess(stranger, 'KILL'), false)
  }
  t.equal(isAlive(identity), true)
})

t.test('signalProcess() rejects a signal that does not exist', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  t.throws(() => signalProcess(identity, 'SIGFOO'), {
    code: 'RUNTIME_BAD_SPECIFICATION',
    message: 'Cannot signal "shop-web-1": there is no signal "SIGFOO"',
  })
})

t.test('watchProcess() tells 137 where the init was killed with the app', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  const ended = new Promise<ProcessExit>(resolve => watchProcess(identity, poller, resolve))
  process.kill(identity.initPid, 'SIGKILL')
  t.strictSame(await ended, { code: 137, isRecorded: false })
})

t.test('watchProcess() tells nothing once it is stopped', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  const watch = watchProcess(identity, poller, () => t.fail('told after stop()'))
  watch.stop()
  await stopProcess(identity, poller)
  watchProcess(identity, poller, () => t.fail('told after stop()')).stop()
  await new Promise(resolve => setImmediate(resolve))
})

t.test(
  '50 containers at once start and stop, and leave no process or descriptor',
  asRoot,
  async t => {
    const poller = testPoller(t)
    const warmUp = await startContainer(t, ['sleep', '100'])
    await stopProcess(warmUp.identity, poller)
    const netns = { fd: openSync('/proc/self/ns/net', 'r') }
    const before = readdirSync('/proc/self/fd').length
    const started = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const runDir = temporaryFolder(t)
        const logPath = `${runDir}/log`
        const specification = { name: 'a', runDir, netns, argv: ['sleep', '100'], env: { PATH } }
        return startProcess({ ...specification, logPath })
      }),
    )
    t.equal(new Set(started.map(identity => identity.appPid)).size, 50)
    const exits = await Promise.all(started.map(identity => stopProcess(identity, poller)))
    t.ok(exits.every(exit => exit.code === 143))
    t.notOk(
      started.some(({ initPid }) => existsSync(`/proc/${initPid}`)),
      'not even a zombie',
    )
    await until(() => readdirSync('/proc/self/fd').length === before, 'all descriptors are closed')
    closeSync(netns.fd)
  },
)

t.test('watchCommand() tells before the init has cleaned up', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const poller = testPoller(t)
  const over = new Promise<ProcessExit>(resolve => watchProcess(identity, poller, resolve))
  const told = new Promise<void>(resolve => watchCommand(identity, poller, resolve))
  process.kill(identity.initPid, 'SIGSTOP')
  signalProcess(identity, 'SIGKILL')
  await told
  t.equal(isAlive(identity), true)
  process.kill(identity.initPid, 'SIGCONT')
  t.equal((await over).code, 137)
})

t.test("watchCommand() says nothing of a command that is not the container's", asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const poller = testPoller(t)
  watchCommand({ ...identity, appPid: process.pid }, poller, () => t.fail('told'))
  await killProcess(identity, poller)
})
