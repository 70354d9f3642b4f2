/** What every store keeps to, whatever it is made of. Run by each implementation's own test. */

import t from 'tap'
import { trustedRecord } from '../../src/store/index.js'
import type { RecordParsers, Store, StoreError } from '../../src/store/index.js'

export interface Boat {
  readonly id: string
  readonly masts: number
  readonly crew?: readonly string[]
}

export interface Harbour {
  readonly id: string
  readonly berths: Readonly<Record<string, string>>
}

/** The kinds that the suite writes. */
export interface PortRecords {
  readonly boat: Boat
  readonly harbour: Harbour
}

export const portParsers: RecordParsers<PortRecords> = {
  boat: trustedRecord<Boat>(),
  harbour: trustedRecord<Harbour>(),
}

/** One place to keep state. `open` may be called again once the store that it gave is closed. */
export interface StorePlace {
  open(): Promise<Store<PortRecords>>
  remove(): Promise<void>
}

type Body = (store: Store<PortRecords>, place: StorePlace) => Promise<void>

const boat = (id: string, masts = 1): Boat => ({ id, masts })

/** Adds the suite's tests to the running test file. */
export function testStore(name: string, makePlace: () => Promise<StorePlace>): void {
  const test = (title: string, body: Body): void => {
    t.test(`${name}: ${title}`, async t => {
      const place = await makePlace()
      t.teardown(() => place.remove())
      const store = await place.open()
      t.teardown(() => store.close())
      await body(store, place)
    })
  }
  testReading(test)
  testAtomicity(test)
  testOrder(test)
  testLifetime(test)
}

type Test = (title: string, body: Body) => void

function testReading(test: Test): void {
  test('an empty store has no records and revision 0', async store => {
    t.equal(store.get('boat', 'argo'), undefined)
    t.strictSame(store.list('boat'), [])
    t.equal(store.revision, 0)
  })

  test('get() gives what was put, as JSON', async store => {
    const argo: Boat = { id: 'argo', masts: 1, crew: ['Jason', 'Orpheus'] }
    await store.transact(tx => tx.put('boat', 'argo', argo))
    t.strictSame(store.get('boat', 'argo'), argo)
  })

  test('get() gives an object that the next reader does not share', async store => {
    await store.transact(tx => tx.put('boat', 'argo', boat('argo')))
    t.not(store.get('boat', 'argo'), store.get('boat', 'argo'))
  })

  test('put() copies: a later change of the object is not stored', async store => {
    const crew = ['Jason']
    await store.transact(tx => {
      tx.put('boat', 'argo', { id: 'argo', masts: 1, crew })
      crew.push('Heracles')
    })
    t.strictSame(store.get('boat', 'argo')?.crew, ['Jason'])
  })

  test('list() gives one kind in the order of ids', async store => {
    await store.transact(tx => {
      for (const id of ['pinta', 'argo', 'nina', 'a/b', 'é']) tx.put('boat', id, boat(id))
      tx.put('harbour', 'athens', { id: 'athens', berths: {} })
    })
    const ids = store.list('boat').map(one => one.id)
    t.strictSame(ids, ['a/b', 'argo', 'nina', 'pinta', 'é'])
    t.strictSame(
      store.entries('boat').map(([id]) => id),
      ids,
    )
  })

  test('put() refuses what is not JSON and ids that no store takes', async store => {
    for (const id of ['', 'x'.repeat(513)]) {
      await rejectsWith(
        store.transact(tx => tx.put('boat', id, boat(id))),
        'STORE_BAD_RECORD',
      )
    }
    t.strictSame(store.list('boat'), [])
  })
}

function testAtomicity(test: Test): void {
  test('a transaction sees its own writes, the store does not until it is durable', async store => {
    await store.transact(tx => {
      tx.put('boat', 'argo', boat('argo'))
      tx.put('boat', 'nina', boat('nina'))
      tx.remove('boat', 'nina')
      t.strictSame(tx.list('boat'), [boat('argo')])
      t.strictSame(store.list('boat'), [])
    })
    t.strictSame(store.list('boat'), [boat('argo')])
  })

  test('a body that throws leaves nothing behind', async store => {
    await store.transact(tx => tx.put('boat', 'argo', boat('argo')))
    const storm = new Error('storm')
    const lost = store.transact(tx => {
      tx.remove('boat', 'argo')
      tx.put('boat', 'nina', boat('nina'))
      throw storm
    })
    await t.rejects(lost, storm)
    t.strictSame(store.list('boat'), [boat('argo')])
    await store.transact(tx => t.strictSame(tx.list('boat'), [boat('argo')]))
  })

  test('a body that goes on after its end is refused', async store => {
    let late: (() => void) | undefined
    await store.transact(tx => {
      late = () => tx.put('boat', 'argo', boat('argo'))
    })
    t.throws(() => late?.(), { code: 'STORE_CLOSED' })
    t.strictSame(store.list('boat'), [])
  })
}

function testOrder(test: Test): void {
  test('concurrent transactions see one another in order', async store => {
    const count = 100
    await Promise.all(
      Array.from({ length: count }, () =>
        store.transact(tx => {
          tx.put('boat', 'argo', boat('argo', (tx.get('boat', 'argo')?.masts ?? 0) + 1))
        }),
      ),
    )
    t.equal(store.get('boat', 'argo')?.masts, count)
  })

  test('transact() says the revision and the last change of each record', async store => {
    const first = await store.transact(tx => tx.put('boat', 'argo', boat('argo')))
    const second = await store.transact(tx => {
      tx.put('boat', 'nina', boat('nina', 1))
      tx.remove('boat', 'argo')
      tx.remove('boat', 'never')
      tx.put('boat', 'nina', boat('nina', 3))
    })
    t.ok(second.revision > first.revision)
    t.equal(store.revision, second.revision)
    t.strictSame(second.changes, [
      { op: 'put', kind: 'boat', id: 'nina', value: boat('nina', 3) },
      { op: 'remove', kind: 'boat', id: 'argo' },
    ])
  })

  test('a transaction that writes nothing changes no revision', async store => {
    const first = await store.transact(tx => tx.put('boat', 'argo', boat('argo')))
    const second = await store.transact(tx => void tx.get('boat', 'argo'))
    t.strictSame(second, { revision: first.revision, changes: [] })
  })
}

function testLifetime(test: Test): void {
  test('records and revision are there when it is opened again', async (store, place) => {
    await store.transact(tx => {
      tx.put('boat', 'argo', boat('argo'))
      tx.put('harbour', 'athens', { id: 'athens', berths: { one: 'argo' } })
    })
    await store.transact(tx => tx.remove('boat', 'argo'))
    const { revision } = store
    await store.close()
    const again = await place.open()
    try {
      t.strictSame(again.list('boat'), [])
      t.strictSame(again.get('harbour', 'athens')?.berths, { one: 'argo' })
      t.equal(again.revision, revision)
    } finally {
      await again.close()
    }
  })

  test('close() waits for what is under way, and ends it', async (store, place) => {
    const acknowledged = store.transact(tx => tx.put('boat', 'argo', boat('argo')))
    await store.close()
    await acknowledged
    await store.close()
    await rejectsWith(
      store.transact(tx => tx.remove('boat', 'argo')),
      'STORE_CLOSED',
    )
    const again = await place.open()
    try {
      t.strictSame(again.list('boat'), [boat('argo')])
    } finally {
      await again.close()
    }
  })
}

async function rejectsWith(promise: Promise<unknown>, code: StoreError['code']): Promise<void> {
  await t.rejects(promise, { code })
}
