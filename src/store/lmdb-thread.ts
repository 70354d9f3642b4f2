/**
 * The thread that owns the database. A commit waits for the disk, which may take many milliseconds,
 * and the thread that answers DNS must not. LMDB's own asynchronous writes are no way out: where one
 * fails (ENOSPC) lmdb-js 3.5 leaves rejections behind that nobody can catch, and aborts.
 */

import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { open } from 'lmdb'
import type { RootDatabase } from 'lmdb'
import { errorMessage } from '../base/error.js'
import { DiskRoom } from './disk-room.js'
import type { Report, Request, Write } from './lmdb-messages.js'

/** Keys of our own; those of records have a slash. */
const SCHEMA_KEY = 'schema'
const REVISION_KEY = 'revision'

/** The layout of keys and values. Raised with a change that an older version cannot read. */
const SCHEMA = 1

if (!isMainThread) serve(String(workerData))

/** A database and the room on its disk. */
interface Opened {
  readonly directory: string
  readonly database: RootDatabase<string, string>
  readonly room: DiskRoom
  readonly fd: number
}

function serve(directory: string): void {
  const report = (message: Report): void => parentPort?.postMessage(message)
  const opened = openDatabase(directory, report)
  if (opened === undefined) return
  parentPort?.on('message', (request: Request) => {
    switch (request.kind) {
      case 'commit':
        report(commit(opened, request.writes, request.revision))
        break
      case 'close':
        void opened.database.close().finally(() => {
          closeSync(opened.fd)
          report({ kind: 'closed' })
          parentPort?.close()
        })
    }
  })
}

function openDatabase(directory: string, report: (message: Report) => void): Opened | undefined {
  try {
    const fd = openSync(join(directory, 'data.mdb'), 'a+', 0o600)
    const room = new DiskRoom(fd, directory)
    if (!room.reserve({ writes: 1, bytes: 0, isRemovalOnly: true })) {
      report(full(directory))
      return undefined
    }
    // Without overlapping sync a commit returns when the data and then the root are on the disk.
    const database = open<string, string>({
      path: directory,
      encoding: 'string',
      overlappingSync: false,
      noSubdir: false,
    })
    report(readAll(database, directory))
    return { directory, database, room, fd }
  } catch (error) {
    const message = `Cannot read the store in "${directory}": ${errorMessage(error)}`
    report({ kind: 'refused', code: 'STORE_CORRUPT', message })
    return undefined
  }
}

function readAll(database: RootDatabase<string, string>, directory: string): Report {
  const records: [string, string][] = []
  let schema: string | undefined
  let revision = 0
  for (const { key, value } of database.getRange()) {
    if (key === SCHEMA_KEY) schema = value
    else if (key === REVISION_KEY) revision = Number(value)
    else records.push([key, value])
  }
  if (schema === undefined && records.length === 0) {
    database.putSync(SCHEMA_KEY, String(SCHEMA))
  } else if (!(Number(schema) <= SCHEMA)) {
    const message =
      `Cannot open the store in "${directory}": it has schema ${schema ?? 'unknown'} and this ` +
      `version knows ${SCHEMA}; run the version that wrote it, or a newer one`
    return { kind: 'refused', code: 'STORE_TOO_NEW', message }
  }
  return { kind: 'opened', revision, records }
}

function commit(opened: Opened, writes: readonly Write[], revision: number): Report {
  const { database, directory, room } = opened
  const size = {
    writes: writes.length + 1,
    // At most three bytes a code unit.
    bytes: 3 * writes.reduce((sum, [, text]) => sum + (text?.length ?? 0), 0),
    isRemovalOnly: writes.every(([, text]) => text === undefined),
  }
  if (!room.reserve(size)) return full(directory)
  try {
    database.transactionSync(() => {
      for (const [key, text] of writes) {
        if (text === undefined) database.removeSync(key)
        else database.putSync(key, text)
      }
      database.putSync(REVISION_KEY, String(revision))
    })
    return { kind: 'committed' }
  } catch (error) {
    const message = `Cannot write to the store in "${directory}": ${errorMessage(error)}`
    return { kind: 'refused', code: 'STORE_WRITE_FAILED', message }
  }
}

function full(directory: string): Report {
  const message = `Cannot write to the store in "${directory}": its disk is full; make room`
  return { kind: 'refused', code: 'STORE_FULL', message }
}
