import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import t from 'tap'
import { startProcess, stopProcess, watchProcess } from '../../src/runtime/index.js'
import type { ProcessExit } from '../../src/runtime/index.js'
import { asRoot, PATH, startContainer, temporaryFolder, testPoller, until } from './container.js'

const namespaceOf = (pid: number | 'self', kind: string): string =>
  readlinkSync(`/proc/${pid}/ns/${kind}`)

/** Starts a command, waits for its end and gives its log and exit. */
async function run(
  test: Parameters<typeof startContainer>[0],
  argv: readonly string[],
  changes: Parameters<typeof startContainer>[2] = {},
): Promise<{ readonly log: string; readonly exit: ProcessExit }> {
  const container = await startContainer(test, argv, changes)
  const poller = testPoller(test)
  const exit = await new Promise<ProcessExit>(resolve => {
    watchProcess(container.identity, poller, resolve)
  })
  return { log: container.log(), exit }
}

t.test('startProcess() gives the app its own net, mnt, uts and pid namespaces', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const app = identity.appPid ?? 0
  for (const kind of ['net', 'mnt', 'uts', 'pid']) {
    t.not(namespaceOf(app, kind), namespaceOf('self', kind), `${kind} is its own`)
    t.equal(namespaceOf(app, kind), namespaceOf(identity.initPid, kind), `${kind} is shared`)
  }
  for (const kind of ['ipc', 'user']) t.equal(namespaceOf(app, kind), namespaceOf('self', kind))
})

t.test('startProcess() leaves the daemon in its own namespaces and folder', asRoot, async t => {
  const before = ['net', 'mnt', 'uts', 'pid', 'pid_for_children'].map(k => namespaceOf('self', k))
  const folder = process.cwd()
  await startContainer(t, ['sleep', '100'], { workingDirectory: '/usr' })
  const after = ['net', 'mnt', 'uts', 'pid', 'pid_for_children'].map(k => namespaceOf('self', k))
  t.strictSame(after, before)
  t.equal(process.cwd(), folder)
  t.equal(hostname(), readFileSync('/proc/sys/kernel/hostname', 'utf8').trim())
})

t.test(
  'startProcess() shows the container its own /etc files, name, /proc and /sys',
  asRoot,
  async t => {
    const script =
      'cat /etc/resolv.conf /etc/hosts /etc/hostname /proc/sys/kernel/hostname ' +
      '/proc/sys/kernel/domainname; ls /sys/class/net; echo $$; pwd; umask'
    const { log } = await run(t, ['sh', '-c', script], {
      domainname: 'corp.example',
      workingDirectory: '/usr',
    })
    t.strictSame(log.split('\n'), [
      'nameserver 127.0.0.11',
      '10.0.1.5 shop-web-1',
      'shop-web-1',
      'shop-web-1',
      'corp.example',
      'lo',
      '2',
      '/usr',
      '0022',
      '',
    ])
  },
)

t.test('startProcess() hands on exactly the environment it was given', asRoot, async t => {
  const env = {
    PATH,
    PLAIN: 'a "quoted" $HOME `word`\nand a second line',
    EMPTY: '',
    'discovery.type': 'single-node',
    IFS: ':',
    PWD: '/elsewhere',
    UTF8: 'Größe',
  }
  const { log } = await run(t, ['env', '-0'], { env })
  const seen = Object.fromEntries(
    log
      .split('\0')
      .filter(word => word !== '')
      .map(word => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
  )
  t.strictSame(seen, env)
})

t.test('startProcess() adds no variable to a small environment', asRoot, async t => {
  const { log } = await run(t, ['env', '-0'], { env: { PATH } })
  t.equal(log, `PATH=${PATH}\0`)
})

t.test('startProcess() hands on arguments as they are', asRoot, async t => {
  const words = ['', '-n', "it's", '$(reboot)', 'a b', 'two\nlines']
  const { log } = await run(t, ['/usr/bin/printf', '[%s]', ...words])
  t.equal(log, words.map(word => `[${word}]`).join(''))
})

t.test('startProcess() leaves the app no descriptor but the standard three', asRoot, async t => {
  const { identity } = await startContainer(t, ['sleep', '100'])
  const pid = identity.appPid ?? 0
  await until(() => readlinkSync(`/proc/${pid}/exe`).includes('sleep') || isCoreutils(pid), 'exec')
  // After exec the loader has a library open for a moment; what leaked would stay.
  const descriptors = (): string => readdirSync(`/proc/${pid}/fd`).join(' ')
  await until(() => descriptors() === '0 1 2', 'the loader is done')
  t.equal(descriptors(), '0 1 2')
})

/** Some systems have all of coreutils in one program. */
function isCoreutils(pid: number): boolean {
  return /coreutils|busybox/.test(readlinkSync(`/proc/${pid}/exe`))
}

t.test('startProcess() leaves the app no ignored and no blocked signal', asRoot, async t => {
  const { log } = await run(t, ['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status'])
  t.strictSame(log.match(/\w+$/gm), ['0000000000000000', '0000000000000000'])
})

for (const [name, script, code] of [
  ['0', 'exit 0', 0],
  ['7', 'exit 7', 7],
  ['255', 'exit 255', 255],
  ['128 + 9 of a signal', 'kill -9 $$', 137],
] as const) {
  t.test(`watchProcess() tells exit code ${name}`, asRoot, async t => {
    const { exit, log } = await run(t, ['sh', '-c', script])
    t.equal(exit.code, code)
    t.equal(exit.isRecorded, true)
    t.equal(log, '', 'the init adds nothing to the log')
  })
}

t.test('startProcess() reports what the shell cannot run as 127 or 126', asRoot, async t => {
  const poller = testPoller(t)
  const container = await startContainer(t, ['sh', '-c', 'exec /nonexistent'])
  const exit = await new Promise<ProcessExit>(resolve => {
    watchProcess(container.identity, poller, resolve)
  })
  t.equal(exit.code, 127)
  t.match(container.log(), /not found/)
})

const ODD = temporaryFolder(t)
writeFileSync(`${ODD}/a=b`, '#!/bin/sh\n', { mode: 0o755 })

for (const [name, changes, code, message] of [
  [
    'a command that is missing',
    { argv: ['foo'] },
    'RUNTIME_COMMAND_NOT_FOUND',
    `Cannot start "shop-web-1": command "foo" not found in PATH "${PATH}"`,
  ],
  [
    'a command that is no program',
    { argv: ['/etc/passwd'] },
    'RUNTIME_COMMAND_NOT_EXECUTABLE',
    'Cannot start "shop-web-1": command "/etc/passwd" is not an executable file (/etc/passwd)',
  ],
  [
    'a working directory that is missing',
    { argv: ['sleep', '1'], workingDirectory: '/nonexistent' },
    'RUNTIME_NO_WORKING_DIRECTORY',
    'Cannot start "shop-web-1": working directory "/nonexistent" does not exist',
  ],
  [
    'a host name that is too long',
    { argv: ['sleep', '1'], hostname: 'x'.repeat(65) },
    'RUNTIME_BAD_SPECIFICATION',
    /64 bytes is the limit/,
  ],
  [
    'a command that env would take for a variable',
    { argv: ['./a=b'], env: { 'a.b': 'x' }, workingDirectory: ODD },
    'RUNTIME_BAD_SPECIFICATION',
    /rename the command/,
  ],
  ['no command', { argv: [] }, 'RUNTIME_BAD_SPECIFICATION', /no command is given/],
] as const) {
  t.test(`startProcess() rejects ${name} in one sentence`, asRoot, async t => {
    const runDir = temporaryFolder(t)
    const base = { name: 'shop-web-1', runDir, env: { PATH }, logPath: `${runDir}/log` }
    await t.rejects(startProcess({ ...base, ...changes }), { code, message })
  })
}

t.test('startProcess() says what to do where it is not root', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const specification = { name: 'a', runDir, argv: ['true'], env: {}, logPath: `${runDir}/log` }
  process.seteuid?.(65534)
  try {
    await t.rejects(startProcess(specification), { code: 'RUNTIME_NOT_ROOT', message: /sudo/ })
  } finally {
    process.seteuid?.(0)
  }
})

t.test('a container leaves no mount on the host', asRoot, async t => {
  const before = readFileSync('/proc/self/mountinfo', 'utf8')
  const poller = testPoller(t)
  const { identity } = await startContainer(t, ['sleep', '100'])
  t.equal(readFileSync('/proc/self/mountinfo', 'utf8'), before, 'while it runs')
  await stopProcess(identity, poller)
  t.equal(readFileSync('/proc/self/mountinfo', 'utf8'), before, 'after its end')
})

t.test('a container without a sandbox is in the network of the host', asRoot, async t => {
  const runDir = temporaryFolder(t)
  const poller = testPoller(t)
  const identity = await startProcess({
    name: 'shop-host-1',
    runDir,
    argv: ['sleep', '100'],
    env: { PATH },
    logPath: `${runDir}/log`,
  })
  t.teardown(() => stopProcess(identity, poller))
  t.equal(namespaceOf(identity.appPid ?? 0, 'net'), namespaceOf('self', 'net'))
})
