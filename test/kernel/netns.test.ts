import { readlinkSync } from 'node:fs'
import t from 'tap'
import { closeNetns, createNetns, openNetns, runInNetns } from '../../src/kernel/netns.js'
import { asRoot } from '../drivers/lab.js'

const current = (): string => readlinkSync('/proc/thread-self/ns/net')

t.test('runInNetns() comes home after a body that throws', asRoot, async t => {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  const home = current()
  t.throws(
    () =>
      runInNetns(netns, () => {
        t.not(current(), home, 'away meanwhile')
        throw new Error('from inside')
      }),
    { message: 'from inside' },
  )
  t.equal(current(), home)
})

t.test('runInNetns() nested comes back to the outer namespace, then home', asRoot, async t => {
  const [outer, inner] = [createNetns(), createNetns()]
  t.teardown(() => [outer, inner].forEach(closeNetns))
  const home = current()
  const seen = runInNetns(outer, () => {
    const before = current()
    const inside = runInNetns(inner, current)
    const made = createNetns()
    closeNetns(made)
    return { before, inside, after: current() }
  })
  t.equal(seen.before, seen.after, 'also after a namespace was made there')
  t.not(seen.inside, seen.before)
  t.equal(current(), home)
})

t.test('runInNetns() refuses a descriptor that is no namespace, and stays', asRoot, async t => {
  const home = current()
  t.throws(() => runInNetns({ fd: 0, id: '' }, () => 0), { name: 'KernelError', code: 'EINVAL' })
  t.equal(current(), home)
})

t.test('openNetns() says ENOENT where the process is gone', async t => {
  t.throws(() => openNetns('/proc/0/ns/net'), { name: 'KernelError', code: 'ENOENT' })
})

t.test('openNetns() gives two descriptors of one namespace the same id', asRoot, async t => {
  const [one, two] = [openNetns('/proc/self/ns/net'), openNetns('/proc/self/ns/net')]
  t.teardown(() => [one, two].forEach(closeNetns))
  t.equal(one.id, two.id)
  t.not(one.fd, two.fd)
})
