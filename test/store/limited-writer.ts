/**
 * A child of the full disk test: writes until the disk is full, removes records, makes room on the disk
 * and writes again.
 */

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../../src/base/error.js'
import { openLmdbStore } from '../../src/store/index.js'
import { portParsers } from '../contract/store.js'

/** How many are removed while the disk is full. */
const REMOVED = 20

/** More than any limit of the test lets through. */
const MOST_WRITES = 1000

const directory = process.argv[2] ?? ''
const ballast = join(directory, 'ballast')
writeFileSync(ballast, Buffer.alloc(1024 * 1024))
const store = await openLmdbStore(directory, portParsers)
const acknowledged: string[] = []
const codes: unknown[] = []
for (let i = 0; i < MOST_WRITES && codes.length === 0; i++) {
  const id = `boat-${String(i).padStart(4, '0')}`
  try {
    await store.transact(tx => tx.put('boat', id, { id, masts: i, crew: ['x'.repeat(5000)] }))
    acknowledged.push(id)
  } catch (error) {
    codes.push(errorCode(error))
  }
}
const present = store.list('boat').map(boat => boat.id)
await store.transact(tx => {
  for (const id of acknowledged.slice(0, REMOVED)) tx.remove('boat', id)
})
rmSync(ballast)
const late = { id: 'late', masts: 1, crew: ['x'.repeat(5000)] }
await store.transact(tx => tx.put('boat', late.id, late))
await store.close()
const again = await openLmdbStore(directory, portParsers)
const kept = again.list('boat').map(boat => boat.id)
await again.close()
process.stdout.write(JSON.stringify({ codes, acknowledged, present, kept }))
