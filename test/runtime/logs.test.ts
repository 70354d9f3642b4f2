import { appendFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readLastLines, readLog, rotateLog } from '../../src/runtime/index.js'
import { asRoot, startContainer, temporaryFolder, until } from './container.js'

const LONG = 'x'.repeat(70_000)

for (const [name, text, lines, expected] of [
  ['nothing of an empty log', '', 3, []],
  ['fewer lines than asked for', 'a\nb\n', 3, ['a', 'b']],
  ['the last lines', 'a\nb\nc\n', 2, ['b', 'c']],
  ['a last line without its end', 'a\nb\nc', 2, ['b', 'c']],
  ['empty lines', 'a\n\n\n', 2, ['', '']],
  ['no line', 'a\nb\n', 0, []],
  ['lines longer than a block', `a\n${LONG}\n${LONG}\n`, 2, [LONG, LONG]],
  ['lines across blocks', `${'0123456\n'.repeat(20_000)}`, 10_000, Array(10_000).fill('0123456')],
] as const) {
  t.test(`readLastLines() gives ${name}`, async t => {
    const path = join(temporaryFolder(t), 'log')
    writeFileSync(path, text)
    t.strictSame(await readLastLines(path, lines), expected)
  })
}

t.test('readLastLines() takes a log that is not there for empty', async t => {
  t.strictSame(await readLastLines(join(temporaryFolder(t), 'log'), 5), [])
})

/** Reads from a followed log until `length` characters came. */
async function take(log: AsyncGenerator<Buffer>, length: number): Promise<string> {
  let text = ''
  while (text.length < length) {
    const { value, done } = await log.next()
    if (done) break
    text += String(value)
  }
  return text
}

t.test('readLog() follows what is appended', async t => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, 'one\ntwo\n')
  const abort = new AbortController()
  const log = readLog(path, { lastLines: 1, follow: true, signal: abort.signal })
  t.equal(await take(log, 4), 'two\n')
  const next = take(log, 6)
  appendFileSync(path, 'three\n')
  t.equal(await next, 'three\n')
  const end = log.next()
  abort.abort()
  t.equal((await end).done, true)
})

t.test('readLog() goes on from the beginning after a truncation', async t => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, 'a long line before\n')
  const log = readLog(path, { follow: true })
  t.teardown(() => log.return(undefined))
  t.equal(await take(log, 19), 'a long line before\n')
  const next = take(log, 4)
  truncateSync(path, 0)
  appendFileSync(path, 'new\n')
  t.equal(await next, 'new\n')
})

t.test('readLog() waits for a log that is not there yet', async t => {
  const path = join(temporaryFolder(t), 'log')
  const clock = { now: () => 0, after: immediately }
  const log = readLog(path, { follow: true, clock })
  t.teardown(() => log.return(undefined))
  const first = take(log, 3)
  writeFileSync(path, 'hi\n')
  t.equal(await first, 'hi\n')
})

/** A clock on which the time to look again is always now. */
function immediately(_delayMs: number, body: () => void): { cancel(): void } {
  const immediate = setImmediate(body)
  return { cancel: () => clearImmediate(immediate) }
}

t.test('readLog() ends at the end where it does not follow', async t => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, `${LONG}\n${LONG}\n`)
  const blocks: Buffer[] = []
  for await (const block of readLog(path)) blocks.push(block)
  t.equal(Buffer.concat(blocks).toString(), `${LONG}\n${LONG}\n`)
  t.ok(blocks.every(block => block.length <= 65_536))
})

t.test('rotateLog() copies and truncates above the size only', async t => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, 'first\n')
  t.equal(await rotateLog(path, { maximumBytes: 100, keptFiles: 2 }), false)
  t.equal(await rotateLog(path, { maximumBytes: 6, keptFiles: 2 }), true)
  t.equal(readFileSync(path, 'utf8'), '')
  for (const text of ['second\n', 'third!\n']) {
    appendFileSync(path, text)
    await rotateLog(path, { maximumBytes: 6, keptFiles: 2 })
  }
  // The end of each, no longer than the bound.
  t.equal(readFileSync(`${path}.1`, 'utf8'), 'hird!\n')
  t.equal(readFileSync(`${path}.2`, 'utf8'), 'econd\n')
  t.equal(existsSync(`${path}.3`), false)
})

t.test('rotateLog() keeps nothing where no file is to be kept', async t => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, 'first\n')
  t.equal(await rotateLog(path, { maximumBytes: 1, keptFiles: 0 }), true)
  t.equal(readFileSync(path, 'utf8'), '')
  t.equal(existsSync(`${path}.1`), false)
})

t.test('rotateLog() leaves a running container writing to the emptied file', asRoot, async t => {
  const sign = join(temporaryFolder(t), 'go on')
  const script = `echo before; until [ -e '${sign}' ]; do sleep 0.01; done; echo after; exec sleep 100`
  const container = await startContainer(t, ['sh', '-c', script])
  const path = container.specification.logPath
  await until(() => container.log() === 'before\n', 'the first line is there')
  await rotateLog(path, { maximumBytes: 7, keptFiles: 1 })
  writeFileSync(sign, '')
  await until(() => container.log() !== '', 'the second line is there')
  t.equal(container.log(), 'after\n')
  t.equal(readFileSync(`${path}.1`, 'utf8'), 'before\n')
})
