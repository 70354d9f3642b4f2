import t from 'tap'
import { Mutex, Semaphore } from '../../src/daemon/mutex.js'

/** A body that ends when told, and what began so far. */
function openGate(begun: string[]): {
  body: (name: string) => () => Promise<string>
  finish: (name: string) => void
} {
  const finishers = new Map<string, () => void>()
  return {
    body: name => async () => {
      begun.push(name)
      await new Promise<void>(resolve => finishers.set(name, resolve))
      return name
    },
    finish: name => finishers.get(name)?.(),
  }
}

t.test('Mutex runs one body at a time in the order of asking', async t => {
  const begun: string[] = []
  const { body, finish } = openGate(begun)
  const mutex = new Mutex()
  const [a, b] = [mutex.run(body('a')), mutex.run(body('b'))]
  await Promise.resolve()
  t.strictSame(begun, ['a'])
  finish('a')
  t.equal(await a, 'a')
  await Promise.resolve()
  t.strictSame(begun, ['a', 'b'])
  finish('b')
  t.equal(await b, 'b')
})

t.test('Mutex goes on after a body that failed', async t => {
  const mutex = new Mutex()
  await t.rejects(
    mutex.run(() => Promise.reject(new Error('no'))),
    { message: 'no' },
  )
  t.equal(await mutex.run(() => Promise.resolve(1)), 1)
})

t.test('Semaphore runs so many at a time, and the next when one ends or fails', async t => {
  const begun: string[] = []
  const { body, finish } = openGate(begun)
  const semaphore = new Semaphore(2)
  const runs = ['a', 'b', 'c'].map(name => semaphore.run(body(name)))
  const failing = semaphore.run(() => Promise.reject(new Error('no')))
  failing.catch(() => undefined)
  t.strictSame(begun, ['a', 'b'])
  finish('a')
  await runs[0]
  t.strictSame(begun, ['a', 'b', 'c'])
  finish('b')
  await t.rejects(failing, { message: 'no' })
  finish('c')
  await Promise.all(runs)
})
