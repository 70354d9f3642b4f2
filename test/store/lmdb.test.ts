/** The embedded store: the contract, and what is its own: the lock, damage, a full disk, SIGKILL. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from 'lmdb'
import t from 'tap'
import { z } from 'zod'
import { StoreError, openLmdbStore } from '../../src/store/index.js'
import type { Store } from '../../src/store/index.js'
import { portParsers, testStore } from '../contract/store.js'
import type { PortRecords } from '../contract/store.js'

/** How often the writer is killed, and how long it may write before that. */
const KILLS = 20
const LONGEST_LIFE_MS = 60

async function makeDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'portolan-store-'))
}

testStore('lmdb', async () => {
  const directory = await makeDirectory()
  return {
    open: () => openLmdbStore(directory, portParsers),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
})

async function withStore(body: (store: Store<PortRecords>, directory: string) => Promise<void>) {
  const directory = await makeDirectory()
  const store = await openLmdbStore(directory, portParsers)
  try {
    await body(store, directory)
  } finally {
    await store.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Fills everything behind the two meta pages with zeros. */
async function wipeRecordPages(file: string): Promise<void> {
  const bytes = await readFile(file)
  await writeFile(file, bytes.fill(0, 2 * 4096))
}

/** What opening `directory` rejects with. */
async function refusal(directory: string): Promise<StoreError | undefined> {
  try {
    const store = await openLmdbStore(directory, portParsers)
    await store.close()
    return undefined
  } catch (error) {
    if (error instanceof StoreError) return error
    throw error
  }
}

t.test('openLmdbStore() refuses a directory that is open, and names the holder', async t => {
  await withStore(async (_, directory) => {
    const error = await refusal(directory)
    t.equal(error?.code, 'STORE_LOCKED')
    t.match(error?.message, `"${directory}": process ${process.pid} has it open`)
  })
})

t.test('openLmdbStore() refuses a path that is no directory', async t => {
  const directory = await makeDirectory()
  t.teardown(() => rm(directory, { recursive: true }))
  await writeFile(join(directory, 'file'), '')
  t.equal((await refusal(join(directory, 'file', 'state')))?.code, 'STORE_UNAVAILABLE')
})

t.test('openLmdbStore() refuses a store of a newer version', async t => {
  await withStore(async (store, directory) => {
    await store.transact(tx => tx.put('boat', 'argo', { id: 'argo', masts: 1 }))
    await store.close()
    const database = open<string, string>({ path: directory, encoding: 'string' })
    database.putSync('schema', '2')
    await database.close()
    const error = await refusal(directory)
    t.equal(error?.code, 'STORE_TOO_NEW')
    t.match(error?.message, /it has schema 2 and this version knows 1/)
  })
})

t.test('openLmdbStore() refuses a damaged database in one sentence', async t => {
  const damages: readonly (readonly [string, (file: string) => Promise<void>])[] = [
    ['text', file => writeFile(file, 'not a database\n')],
    ['zeros', file => writeFile(file, Buffer.alloc(65_536))],
    [
      'noise',
      file =>
        writeFile(file, Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7919) & 255))),
    ],
    ['one page', file => truncate(file, 4096)],
    ['two pages', file => truncate(file, 8192)],
    ['half of it missing', async file => truncate(file, Math.floor((await stat(file)).size / 2))],
    ['each page of records wiped', wipeRecordPages],
  ]
  await withStore(async (store, directory) => {
    await store.transact(tx => {
      for (let i = 0; i < 100; i++) tx.put('boat', `boat-${i}`, { id: `boat-${i}`, masts: i })
    })
    await store.close()
    const file = join(directory, 'data.mdb')
    await copyFile(file, join(directory, 'copy'))
    for (const [name, damage] of damages) {
      await copyFile(join(directory, 'copy'), file)
      await damage(file)
      const error = await refusal(directory)
      t.equal(error?.code, 'STORE_CORRUPT', name)
      t.notMatch(error?.message, /\n|\.$/, `${name}: one sentence`)
    }
    await copyFile(join(directory, 'copy'), file)
    t.equal(await refusal(directory), undefined, 'the copy is well')
  })
})

t.test('openLmdbStore() opens what it wrote, whatever was written and removed', async t => {
  const directory = await makeDirectory()
  t.teardown(() => rm(directory, { recursive: true }))
  let seed = 7
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  for (let round = 0; round < 10; round++) {
    const store = await openLmdbStore(directory, portParsers)
    for (let i = 0; i < 40; i++) {
      // Records from some bytes to several pages, written, rewritten and removed in one commit.
      await Promise.all(
        Array.from({ length: 8 }, () =>
          store.transact(tx => {
            const id = `boat-${random(200)}`
            if (random(3) === 0) tx.remove('boat', id)
            else tx.put('boat', id, { id, masts: i, crew: ['x'.repeat(random(12_000))] })
          }),
        ),
      )
    }
    await store.close()
  }
  t.equal(await refusal(directory), undefined)
})

t.test('openLmdbStore() refuses a record that is not JSON', async t => {
  await withStore(async (store, directory) => {
    await store.close()
    const database = open<string, string>({ path: directory, encoding: 'string' })
    database.putSync('boat/argo', '{"id":')
    await database.close()
    t.equal((await refusal(directory))?.code, 'STORE_CORRUPT')
  })
})

const needsMount =
  process.getuid?.() === 0 ? {} : { skip: 'a small disk is a mount, which needs root' }

const fullDisk = 'a full disk refuses a write whole, still removes, and writes again with room'
t.test(fullDisk, needsMount, async t => {
  const directory = await makeDirectory()
  t.teardown(() => rm(directory, { recursive: true }))
  const script = fileURLToPath(new URL('./limited-writer.js', import.meta.url))
  // The mount is the child's own, and ends with it.
  const command = 'mount -t tmpfs -o size=4m none "$2" && exec "$0" "$@"'
  const argv = ['--mount', 'sh', '-c', command, process.execPath, script, directory]
  const child = spawn('unshare', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [output] = await Promise.all([readAll(child.stdout), once(child, 'exit')])
  const ids = z.array(z.string())
  const shape = z.object({ codes: ids, acknowledged: ids, present: ids, kept: ids })
  const { codes, acknowledged, present, kept } = shape.parse(JSON.parse(output))
  t.strictSame(codes, ['STORE_FULL'])
  t.ok(acknowledged.length > 20, 'some writes went through')
  t.strictSame(present, acknowledged, 'all that was acknowledged, and nothing else')
  t.strictSame(kept, [...acknowledged.slice(20), 'late'], 'also when it is opened again')
})

t.test('an acknowledged transaction survives SIGKILL, and no half of one is there', async t => {
  const directory = await makeDirectory()
  t.teardown(() => rm(directory, { recursive: true }))
  let acknowledged = 0
  for (let round = 0; round < KILLS; round++) {
    acknowledged = Math.max(acknowledged, await writeUntilKilled(directory, round))
    const store = await openLmdbStore(directory, portParsers)
    const masts = store.list('boat').map(boat => boat.masts)
    await store.close()
    const written = masts[0] ?? 0
    const isWhole = masts.length === 0 || (masts.length === 10 && masts.every(n => n === written))
    t.ok(isWhole, `round ${round}: all records of a transaction, or none`)
    t.ok(written >= acknowledged, `round ${round}: ${acknowledged} acknowledged, ${written} there`)
  }
  t.ok(acknowledged > KILLS, 'the writer lived long enough to write')
})

/** Lets a child count up in ten records at once, kills it, and gives the last count it acknowledged. */
async function writeUntilKilled(directory: string, round: number): Promise<number> {
  const script = fileURLToPath(new URL('./writer.js', import.meta.url))
  const child = spawn(process.execPath, [script, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8')
  const ended = once(child.stdout, 'end')
  child.stdout.on('data', (chunk: string) => {
    // From the first acknowledgement on, so that the kill falls among writes.
    if (output === '') setTimeout(() => child.kill('SIGKILL'), (round * 37) % LONGEST_LIFE_MS)
    output += chunk
  })
  const [[, signal]] = await Promise.all([once(child, 'exit'), ended])
  t.equal(signal, 'SIGKILL')
  // What follows the last newline was cut off.
  return Number(output.split('\n').at(-2) ?? 0)
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}
