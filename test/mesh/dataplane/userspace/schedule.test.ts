/** Schedulers and affinity: shares, turns, and who moves when one goes. Pure: no sockets. */

import t from 'tap'
import {
  AffinityTable,
  MAX_CLIENTS,
} from '../../../../mesh/dataplane/userspace/schedule/affinity.js'
import { createScheduler } from '../../../../mesh/dataplane/userspace/schedule/scheduler.js'
import { destinationOf, serviceOf } from './fixture.js'
import { Ledger } from '../../../../mesh/dataplane/userspace/ledger.js'
import { ServiceRoute } from '../../../../mesh/dataplane/userspace/route.js'
import { systemClock } from '../../../../src/base/clock.js'
import type { Candidate, Choose } from '../../../../mesh/dataplane/userspace/schedule/scheduler.js'

const nobody = (): boolean => false

function candidatesOf(weights: Record<string, number>): Candidate[] {
  return Object.entries(weights).map(([id, weight]) => ({ id, weight, activeConnections: 0 }))
}

function clients(count: number): string[] {
  return Array.from({ length: count }, (_, i) =>
    String.fromCharCode(10, (i >> 16) & 255, (i >> 8) & 255, i & 255),
  )
}

function share(choose: Choose<Candidate>, count: number): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const client of clients(count)) {
    const id = choose(client, nobody)?.id ?? 'nobody'
    counts[id] = (counts[id] ?? 0) + 1
  }
  return counts
}

t.test('rr takes turns, weights aside, and leaves out who is out', async t => {
  const choose = createScheduler('rr', candidatesOf({ a: 5, b: 1, c: 1 }))
  const turns = clients(6).map(client => choose(client, nobody)?.id)
  t.strictSame(turns, ['a', 'b', 'c', 'a', 'b', 'c'])
  t.equal(choose('x', ({ id }) => id !== 'c')?.id, 'c')
  t.equal(
    choose('x', () => true),
    undefined,
  )
})

t.test('wrr is exact and even: 3:1 never takes b twice, nor a four times in a row', async t => {
  const choose = createScheduler('wrr', candidatesOf({ a: 3, b: 1 }))
  const turns = clients(8).map(client => choose(client, nobody)?.id)
  t.strictSame(turns, ['a', 'a', 'b', 'a', 'a', 'a', 'b', 'a'])
  t.strictSame(share(choose, 4000), { a: 3000, b: 1000 })
})

t.test('lc and wlc take who has fewest, wlc for its weight', async t => {
  const busy = [
    { id: 'a', weight: 4, activeConnections: 100 },
    { id: 'b', weight: 1, activeConnections: 40 },
  ]
  t.equal(createScheduler('lc', busy)('x', nobody)?.id, 'b')
  t.equal(createScheduler('wlc', busy)('x', nobody)?.id, 'a')
  const idle = createScheduler('lc', candidatesOf({ a: 1, b: 1 }))
  t.strictSame(share(idle, 100), { a: 50, b: 50 }, 'ties go round')
})

for (const scheduler of ['sh', 'mh'] as const) {
  t.test(`${scheduler} sends a client to one destination, by weight, and moves few`, async t => {
    const choose = createScheduler(scheduler, candidatesOf({ a: 3, b: 1, c: 1 }))
    const counts = share(choose, 20_000)
    t.ok(Math.abs((counts['a'] ?? 0) - 12_000) < 600, `a has three fifths: ${counts['a']}`)
    t.ok(Math.abs((counts['b'] ?? 0) - 4000) < 400, `b has a fifth: ${counts['b']}`)
    const without = createScheduler(scheduler, candidatesOf({ a: 3, b: 1 }))
    const other = createScheduler(scheduler, candidatesOf({ c: 1, b: 1, a: 3 }))
    let [moved, reordered] = [0, 0]
    for (const client of clients(20_000)) {
      const before = choose(client, nobody)?.id
      if (other(client, nobody)?.id !== before) reordered++
      if (before !== 'c' && without(client, nobody)?.id !== before) moved++
    }
    t.equal(reordered, 0, 'the order they are listed in is no matter')
    t.ok(moved < 20_000 * 0.1, `${moved} of the others moved`)
    const client = 'abcd'
    const first = choose(client, nobody)
    t.not(choose(client, candidate => candidate === first)?.id, first?.id)
    t.equal(
      choose(client, () => true),
      undefined,
    )
    t.equal(createScheduler(scheduler, [])(client, nobody), undefined)
  })
}

t.test('AffinityTable forgets after its time, and the oldest when there are too many', async t => {
  const table = new AffinityTable(10)
  table.remember('x', 'a', 0)
  t.equal(table.find('x', 9999), 'a')
  table.remember('x', 'a', 9999)
  t.equal(table.find('x', 19_998), 'a', 'a new connection renews it')
  t.equal(table.find('x', 19_999), undefined)
  for (let i = 0; i < MAX_CLIENTS; i++) table.remember(String(i), 'b', 0)
  t.equal(table.find('x', 9999), undefined)
  t.equal(table.find('0', 1), 'b')
})

t.test('client-ip affinity keeps a client, lets others spread, and moves it once', async t => {
  const route = new ServiceRoute(4, { clock: systemClock, ledger: new Ledger() })
  const affinity = { kind: 'client-ip', timeoutSeconds: 60 } as const
  const destinations = ['a', 'b', 'c'].map(id => destinationOf(id, 80))
  const service = serviceOf({ port: 80, affinity, destinations })
  route.update(service)
  const ask = (key: string) => route.choose({ family: 4, key, port: 1 }, [])?.id
  const first = clients(3).map(ask)
  t.strictSame(first, ['a', 'b', 'c'])
  t.strictSame(clients(3).map(ask), first)
  route.update({ ...service, destinations: destinations.slice(1) })
  const [moved, ...others] = clients(3).map(ask)
  t.strictSame(others, ['b', 'c'])
  t.strictSame(clients(3).map(ask), [moved, 'b', 'c'])
  route.update(service)
  t.strictSame(clients(3).map(ask), [moved, 'b', 'c'], 'and stays when the old one is back')
})
