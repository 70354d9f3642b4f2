import { appendFileSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { closeSync, existsSync, mkdirSync, openSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { execInContainer, repairFiles, rewriteFile } from '../../src/runtime/index.js'
import { libc } from '../../src/runtime/libc.js'
import { readBootId, readStartTime } from '../../src/runtime/identity.js'
import { bindFiles, isolateMounts } from '../../src/runtime/mounts.js'
import { runInNamespaces } from '../../src/runtime/namespaces.js'
import { onChildExit, spawnChild } from '../../src/runtime/spawn.js'
import { asRoot, PATH, startContainer, temporaryFolder } from './container.js'

t.test('rewriteFile() keeps the inode, longer or shorter', async t => {
  const path = join(temporaryFolder(t), 'hosts')
  t.equal(rewriteFile(path, 'a longer first text\n'), 'written')
  const { ino } = statSync(path)
  t.equal(rewriteFile(path, 'short\n'), 'written')
  t.equal(readFileSync(path, 'utf8'), 'short\n')
  t.equal(rewriteFile(path, 'short\n'), 'unchanged')
  t.equal(statSync(path).ino, ino)
  t.equal(statSync(path).mode & 0o777, 0o644)
})

t.test('rewriteFile() leaves a file alone that somebody edited', async t => {
  const path = join(temporaryFolder(t), 'resolv.conf')
  rewriteFile(path, 'nameserver 127.0.0.11\n')
  appendFileSync(path, 'options timeout:1\n')
  t.equal(rewriteFile(path, 'nameserver 127.0.0.11\noptions ndots:0\n'), 'kept')
  t.equal(readFileSync(path, 'utf8'), 'nameserver 127.0.0.11\noptions timeout:1\n')
  t.equal(rewriteFile(path, 'fresh\n', true), 'written', 'a start regenerates it')
  t.equal(rewriteFile(path, 'again\n'), 'written', 'and it is ours again')
})

t.test('rewriteFile() reaches a running container', asRoot, async t => {
  const { identity, specification } = await startContainer(t, ['sleep', '100'])
  rewriteFile(specification.files?.hosts ?? '', '10.0.1.9 shop-db-1\n')
  const { output } = await execInContainer(identity, ['cat', '/etc/hosts'], { env: { PATH } })
  t.equal(output, '10.0.1.9 shop-db-1\n')
})

/** Runs `body` with an empty folder as /etc, seen by it alone. */
function withOwnEtc<T>(body: () => T): T {
  return runInNamespaces({ fresh: ['mnt'], joined: [] }, () => {
    isolateMounts()
    if (libc().mount('tmpfs', '/etc', 'tmpfs', 0, null) !== 0) throw new Error('no tmpfs')
    return body()
  })
}

t.test('bindFiles() mounts over what a symbolic link leads to', asRoot, async t => {
  const folder = temporaryFolder(t)
  const source = join(folder, 'resolv.conf')
  writeFileSync(source, 'ours\n')
  const seen = withOwnEtc(() => {
    mkdirSync('/etc/run')
    writeFileSync('/etc/run/stub-resolv.conf', 'theirs\n')
    symlinkSync('../etc/run/stub-resolv.conf', '/etc/resolv.conf')
    bindFiles({ resolvConf: source })
    return readFileSync('/etc/resolv.conf', 'utf8')
  })
  t.equal(seen, 'ours\n')
})

t.test('bindFiles() serves a symbolic link that leads nowhere', asRoot, async t => {
  const source = join(temporaryFolder(t), 'resolv.conf')
  writeFileSync(source, 'ours\n')
  const seen = withOwnEtc(() => {
    symlinkSync('run/deep/stub-resolv.conf', '/etc/resolv.conf')
    bindFiles({ resolvConf: source })
    return readFileSync('/etc/resolv.conf', 'utf8')
  })
  t.equal(seen, 'ours\n')
})

t.test('bindFiles() makes no /etc/hostname where the host has none', asRoot, async t => {
  const source = join(temporaryFolder(t), 'file')
  writeFileSync(source, 'ours\n')
  const seen = withOwnEtc(() => {
    bindFiles({ hostname: source, hosts: source })
    return [existsSync('/etc/hostname'), readFileSync('/etc/hosts', 'utf8')]
  })
  t.strictSame(seen, [false, 'ours\n'])
})

t.test('repairFiles() puts back what a rename on the host took away', asRoot, async t => {
  const source = join(temporaryFolder(t), 'hosts')
  writeFileSync(source, 'ours\n')
  // A host of its own: the machine's /etc stays as it is.
  const host = withOwnEtc(() => {
    writeFileSync('/etc/hosts', 'theirs\n')
    return openSync('/proc/thread-self/ns/mnt', 'r')
  })
  t.teardown(() => closeSync(host))
  const joined = [{ kind: 'mnt', fd: host }] as const
  const holder = runInNamespaces({ joined, fresh: ['mnt'] }, () => {
    bindFiles({ hosts: source })
    return spawnChild({ path: '/bin/sleep', argv: ['sleep', '100'], env: [], fds: [0, 1, 2] })
  })
  if (holder.kind === 'failed') throw new Error(holder.errno)
  const { pid } = holder
  const ended = new Promise<number>(resolve => onChildExit(pid, resolve))
  const seen = (): string => readFileSync(`/proc/${pid}/root/etc/hosts`, 'utf8')
  const startTime = readStartTime(pid) ?? 0
  const identity = { name: 'a', runDir: '', initPid: pid, startTime, bootId: readBootId() }
  const views = [seen()]
  runInNamespaces({ joined, fresh: [] }, () => {
    writeFileSync('/etc/hosts.new', 'newer\n')
    renameSync('/etc/hosts.new', '/etc/hosts')
  })
  views.push(seen())
  t.strictSame(repairFiles(identity, { hosts: source }), ['hosts'])
  views.push(seen())
  process.kill(pid, 'SIGKILL')
  await ended
  t.strictSame(views, ['ours\n', 'newer\n', 'ours\n'])
})

t.test('repairFiles() puts back a mount that is gone, and only that', asRoot, async t => {
  const { identity, specification } = await startContainer(t, ['sleep', '100'])
  const files = specification.files ?? {}
  const env = { PATH }
  t.strictSame(repairFiles(identity, files), [])
  t.equal((await execInContainer(identity, ['umount', '/etc/hosts'], { env })).code, 0)
  t.strictSame(repairFiles(identity, files), ['hosts'])
  const { output } = await execInContainer(identity, ['cat', '/etc/hosts'], { env })
  t.equal(output, '10.0.1.5 shop-web-1\n')
  t.strictSame(repairFiles(identity, files), [])
})
