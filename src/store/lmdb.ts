/**
 * The embedded store: LMDB in a directory, for one process at a time. Records are held in memory as
 * JSON; a thread of its own writes them (lmdb-thread.ts). Transactions that come while one is being
 * written are written together.
 */

import { accessSync, constants, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { errorMessage } from '../base/error.js'
import { lockDirectory } from './directory-lock.js'
import type { DirectoryLock } from './directory-lock.js'
import { StoreError } from './error.js'
import { describeDamage } from './lmdb-file.js'
import type { Report, Request } from './lmdb-messages.js'
import { RecordMap, TextOverlay, parseRecordKey, recordKey } from './record-map.js'
import type { TextChange } from './record-map.js'
import { TextRecords, TextTransaction } from './transaction.js'
import { kindsOf } from './store.js'
import type { Change, Commit, Kind, RecordParsers, Store, Transaction } from './store.js'

/**
 * Opens the store in `directory`, which is made where it does not exist. Rejects with StoreError
 * `STORE_LOCKED`, `STORE_UNAVAILABLE`, `STORE_CORRUPT`, `STORE_TOO_NEW`, `STORE_FULL`.
 */
export async function openLmdbStore<R>(
  directory: string,
  parsers: RecordParsers<R>,
): Promise<Store<R>> {
  const lock = takeDirectory(directory)
  let worker: Worker | undefined
  try {
    const damage = describeDamage(join(directory, 'data.mdb'))
    if (damage !== undefined) throw corrupt(directory, damage)
    worker = new Worker(new URL('./lmdb-thread.js', import.meta.url), { workerData: directory })
    const opened = await nextReport(worker)
    if (opened.kind !== 'opened') throw refusalOf(opened)
    const records = readRecords(directory, parsers, opened.records)
    return new LmdbStore({ parsers, records, revision: opened.revision, lock, worker })
  } catch (error) {
    await worker?.terminate()
    lock.release()
    throw error
  }
}

interface LmdbStoreParts<R> {
  readonly parsers: RecordParsers<R>
  readonly records: RecordMap
  readonly revision: number
  readonly lock: DirectoryLock
  readonly worker: Worker
}

/** A transaction on its way to the disk. */
interface Pending<R> {
  readonly texts: readonly TextChange[]
  readonly changes: readonly Change<R>[]
  readonly revision: number
  readonly resolve: (commit: Commit<R>) => void
  readonly reject: (error: unknown) => void
}

class LmdbStore<R> extends TextRecords<R> implements Store<R> {
  readonly #parsers: RecordParsers<R>
  readonly #lock: DirectoryLock
  readonly #worker: Worker
  readonly #durable: RecordMap
  /** What transactions wrote that is not durable yet. */
  readonly #ahead: TextOverlay
  #queue: Pending<R>[] = []
  #writing: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #durableRevision: number
  #aheadRevision: number

  constructor(parts: LmdbStoreParts<R>) {
    super(parts.parsers, parts.records)
    this.#parsers = parts.parsers
    this.#lock = parts.lock
    this.#worker = parts.worker
    this.#durable = parts.records
    this.#ahead = new TextOverlay(parts.records)
    this.#durableRevision = parts.revision
    this.#aheadRevision = parts.revision
    // An open store does not keep the process alive; a commit under way does.
    this.#worker.unref()
  }

  get revision(): number {
    return this.#durableRevision
  }

  transact(body: (transaction: Transaction<R>) => void): Promise<Commit<R>> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== undefined) {
        throw new StoreError('STORE_CLOSED', 'Cannot change the store: it is closed')
      }
      const transaction = new TextTransaction(this.#parsers, this.#ahead)
      try {
        body(transaction)
      } finally {
        transaction.end()
      }
      const { texts, changes } = transaction.end()
      for (const change of texts) this.#ahead.set(change)
      // One that wrote nothing waits as well: what it read must be durable when it is acknowledged.
      if (texts.length > 0) this.#aheadRevision++
      this.#queue.push({ texts, changes, revision: this.#aheadRevision, resolve, reject })
      this.#writing ??= this.#writeAll()
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    await this.#writing
    this.#worker.ref()
    const closed = nextReport(this.#worker)
    this.#send({ kind: 'close' })
    await closed
    await this.#worker.terminate()
    this.#lock.release()
  }

  /** Writes what is queued, all of it at once, until nothing is. */
  async #writeAll(): Promise<void> {
    // Lets every transaction of this turn of the event loop into the first commit.
    await Promise.resolve()
    this.#worker.ref()
    while (this.#queue.length > 0) {
      const group = this.#queue
      this.#queue = []
      const report = await this.#commit(group)
      if (report.kind === 'committed') this.#settle(group)
      else this.#undo(group, refusalOf(report))
    }
    this.#worker.unref()
    this.#writing = undefined
  }

  async #commit(group: readonly Pending<R>[]): Promise<Report> {
    // The last write of a record stands for all of the group's.
    const writes = new Map<string, string | undefined>()
    for (const { kind, id, text } of group.flatMap(pending => pending.texts)) {
      writes.set(recordKey(kind, id), text)
    }
    if (writes.size === 0) return { kind: 'committed' }
    const report = nextReport(this.#worker)
    this.#send({ kind: 'commit', revision: group.at(-1)?.revision ?? 0, writes: [...writes] })
    return report
  }

  #settle(group: readonly Pending<R>[]): void {
    for (const { texts, changes, revision, resolve } of group) {
      for (const change of texts) {
        this.#durable.set(change.kind, change.id, change.text)
        this.#ahead.settle(change)
      }
      this.#durableRevision = revision
      resolve({ revision, changes })
    }
  }

  /** Those queued meanwhile have seen what is lost now, and go with it. */
  #undo(group: readonly Pending<R>[], error: StoreError): void {
    const lost = [...group, ...this.#queue]
    this.#queue = []
    this.#ahead.clear()
    this.#aheadRevision = this.#durableRevision
    for (const { reject } of lost) reject(error)
  }

  #send(request: Request): void {
    this.#worker.postMessage(request)
  }
}

function takeDirectory(directory: string): DirectoryLock {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK)
    return lockDirectory(directory)
  } catch (cause) {
    if (cause instanceof StoreError) throw cause
    const message = `Cannot open the store in "${directory}": ${errorMessage(cause)}`
    throw new StoreError('STORE_UNAVAILABLE', message, { cause })
  }
}

/** All texts, each parsed once, so that reading never fails later. Unknown kinds are kept. */
function readRecords<R>(
  directory: string,
  parsers: RecordParsers<R>,
  texts: readonly (readonly [key: string, text: string])[],
): RecordMap {
  const records = new RecordMap()
  for (const [key, text] of texts) {
    const parts = parseRecordKey(key)
    if (parts === undefined) throw corrupt(directory, `it has a record "${key}" of no kind`)
    records.set(parts[0], parts[1], text)
  }
  const reader = new TextRecords(parsers, records)
  for (const kind of kindsOf(parsers)) readKind(directory, reader, kind)
  return records
}

function readKind<R>(directory: string, reader: TextRecords<R>, kind: Kind<R>): void {
  try {
    reader.list(kind)
  } catch (cause) {
    const what = `a record of kind "${kind}" is not readable (${errorMessage(cause)})`
    throw corrupt(directory, what, { cause })
  }
}

function corrupt(directory: string, what: string, options?: ErrorOptions): StoreError {
  const message =
    `Cannot open the store in "${directory}": ${what}; restore it from a copy, or remove the ` +
    'directory to begin anew'
  return new StoreError('STORE_CORRUPT', message, options)
}

function refusalOf(report: Report): StoreError {
  if (report.kind === 'refused') return new StoreError(report.code, report.message)
  return new StoreError(
    'STORE_WRITE_FAILED',
    `Cannot use the store: its thread said ${report.kind}`,
  )
}

/** The thread's next word; its death is a refusal. */
function nextReport(worker: Worker): Promise<Report> {
  return new Promise(resolve => {
    const settle = (report: Report): void => {
      worker.off('message', settle).off('error', fail).off('exit', exit)
      resolve(report)
    }
    const fail = (error: unknown): void => {
      const message = `Cannot use the store: its thread failed (${errorMessage(error)})`
      settle({ kind: 'refused', code: 'STORE_WRITE_FAILED', message })
    }
    const exit = (): void => fail(new Error('it ended'))
    worker.on('message', settle).on('error', fail).on('exit', exit)
    // Node's sign of a thread that ended before anybody listened.
    if (worker.threadId === -1) exit()
  })
}
