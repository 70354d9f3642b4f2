import { readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import t from 'tap'
import { libc } from '../../src/runtime/libc.js'
import { runInNamespaces } from '../../src/runtime/namespaces.js'
import { asRoot } from './container.js'

const KINDS = ['net', 'mnt', 'uts', 'pid_for_children'] as const
const current = (): string[] => KINDS.map(kind => readlinkSync(`/proc/thread-self/ns/${kind}`))

t.test('runInNamespaces() comes home after an error, in the same folder', asRoot, async t => {
  const before = current()
  const folder = process.cwd()
  t.throws(
    () =>
      runInNamespaces({ fresh: ['net', 'mnt', 'uts', 'pid'], joined: [] }, () => {
        process.chdir('/')
        throw new Error('from inside')
      }),
    { message: 'from inside' },
  )
  t.strictSame(current(), before)
  t.equal(process.cwd(), folder)
})

t.test('runInNamespaces() keeps a host name inside', asRoot, async t => {
  const before = hostname()
  const inside = runInNamespaces({ fresh: ['uts'], joined: [] }, () => {
    libc().sethostname('inside', 6)
    return hostname()
  })
  t.strictSame([inside, hostname()], ['inside', before])
})

t.test('runInNamespaces() rejects a descriptor that is no namespace', asRoot, async t => {
  const before = current()
  t.throws(() => runInNamespaces({ fresh: [], joined: [{ kind: 'net', fd: 0 }] }, () => 0), {
    code: 'RUNTIME_SETUP_FAILED',
    message: 'Cannot enter the net namespace: the kernel says EINVAL',
  })
  t.strictSame(current(), before)
})
