import { readFileSync, readlinkSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { execInContainer, nsenterArguments, stopProcess } from '../../src/runtime/index.js'
import {
  asRoot,
  countProcesses,
  PATH,
  startContainer,
  temporaryFolder,
  testPoller,
  until,
} from './container.js'

const env = { PATH }

t.test('execInContainer() runs a command inside and gives code and output', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const script = 'cat /etc/resolv.conf; ls /sys/class/net; pwd; echo "$A" >&2; exit 3'
  const options = { env: { ...env, A: 'x y' }, workingDirectory: '/usr' }
  const result = await execInContainer(identity, ['sh', '-c', script], options)
  t.strictSame(result, { code: 3, output: 'nameserver 127.0.0.11\nlo\n/usr\nx y\n' })
})

t.test('execInContainer() sees all namespaces of the container', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const kinds = ['net', 'mnt', 'uts', 'pid']
  const words = ['readlink', ...kinds.map(kind => `/proc/self/ns/${kind}`)]
  const { output } = await execInContainer(identity, words, { env })
  const expected = kinds.map(kind => readlinkSync(`/proc/${identity.initPid}/ns/${kind}`))
  t.strictSame(output.trim().split('\n'), expected)
})

t.test('execInContainer() kills the whole process group on time-out', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const pids = `${temporaryFolder(t)}/pids`
  // The host's pid of a process is what the host's /proc calls it; NSpid begins with it there.
  const script = `sleep 77 & sleep 77 & echo started; touch ${pids}; wait`
  const running = execInContainer(identity, ['sh', '-c', script], { env, timeoutMs: 300 })
  let children: number[] = []
  await until(() => {
    children = processesIn(identity.initPid, 'sleep\x0077\x00')
    return children.length === 2
  }, 'both children run')
  t.strictSame(await running, { code: undefined, output: 'started\n' })
  await until(() => countProcesses(children) === 0, 'both children are gone')
  t.equal(countProcesses(children), 0)
})

/** Host pids in the PID namespace of `initPid` with this command line. */
function processesIn(initPid: number, commandLine: string): number[] {
  const namespace = readlinkSync(`/proc/${initPid}/ns/pid`)
  const { stdout } = spawnSync('ls', ['/proc'], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(pid => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8') === commandLine &&
          readlinkSync(`/proc/${pid}/ns/pid`) === namespace
        )
      } catch {
        return false
      }
    })
}

t.test('execInContainer() bounds the output it keeps', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const words = ['head', '-c', '1000000', '/dev/zero']
  const { code, output } = await execInContainer(identity, words, { env })
  t.equal(code, 0)
  t.equal(output.length, 4096)
})

t.test(
  'execInContainer() does not wait for a child that keeps the output open',
  asRoot,
  async t => {
    const { identity } = await startContainer(t, ['sleep', '100'])
    const words = ['sh', '-c', 'sleep 100 & echo done']
    t.strictSame(await execInContainer(identity, words, { env }), { code: 0, output: 'done\n' })
  },
)

for (const [name, argv, code, message] of [
  ['a missing command', ['nope'], 127, /command "nope" not found/],
  ['a file that is no program', ['/etc/passwd'], 126, /not an executable file/],
] as const) {
  t.test(`execInContainer() gives ${code} for ${name}`, asRoot, async t => {
    const { identity } = await startContainer(t, ['sleep', '100'])
    const result = await execInContainer(identity, argv, { env })
    t.equal(result.code, code)
    t.match(result.output, message)
  })
}

t.test('execInContainer() rejects where the container has ended', asRoot, async t => {
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  await stopProcess(identity, poller)
  await t.rejects(execInContainer(identity, ['true'], { env }), {
    code: 'RUNTIME_NOT_RUNNING',
    message: 'Cannot run a command in "shop-web-1": it is not running',
  })
})

t.test('execInContainer() many at once all come home', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const codes = Array.from({ length: 20 }, (_, index) => index)
  const results = await Promise.all(
    codes.map(code => execInContainer(identity, ['sh', '-c', `exit ${code}`], { env })),
  )
  t.strictSame(
    results.map(result => result.code),
    codes,
  )
})

t.test('nsenterArguments() enter the container from a terminal', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const [program = '', ...words] = nsenterArguments(identity, ['sh', '-c', 'hostname; pwd'], {
    workingDirectory: '/usr',
  })
  const { stdout, status } = spawnSync(program, words, { encoding: 'utf8', env })
  t.equal(stdout, 'shop-web-1\n/usr\n')
  t.equal(status, 0)
})
