/** A child of the SIGKILL test: counts up in ten records at once, and says each count when durable. */

import { writeSync } from 'node:fs'
import { openLmdbStore } from '../../src/store/index.js'
import { portParsers } from '../contract/store.js'

const STDOUT = 1
const directory = process.argv[2] ?? ''
const store = await openLmdbStore(directory, portParsers)
let count = store.get('boat', 'boat-0')?.masts ?? 0
for (;;) {
  count++
  await store.transact(tx => {
    for (let i = 0; i < 10; i++) tx.put('boat', `boat-${i}`, { id: `boat-${i}`, masts: count })
  })
  writeSync(STDOUT, `${count}\n`)
}
