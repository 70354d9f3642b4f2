import t from 'tap'
import { Catalog, findContainer, findNetwork, replicasOf } from '../../src/catalog/catalog.js'
import { container, network, running, snapshotOf } from './records.js'

t.test('Catalog tells listeners of a swap before apply() returns, and of nothing else', async t => {
  const catalog = new Catalog()
  const heard: string[] = []
  const stop = catalog.subscribe((snapshot, delta, previous) => {
    heard.push(`${previous.version}>${snapshot.version} ${[...delta.containers].length}`)
    t.equal(catalog.snapshot, snapshot)
  })
  const web = container('web')
  catalog.apply([{ op: 'put-container', container: web }])
  catalog.apply([{ op: 'put-container', container: { ...web } }])
  catalog.apply([{ op: 'put-status', status: running(web) }])
  stop()
  catalog.apply([{ op: 'remove-container', id: web.id }])
  t.strictSame(heard, ['0>1 1', '1>2 1'])
})

t.test('findContainer() takes a name, an id, and an unambiguous prefix of four digits', async t => {
  const one = container('one', { id: 'abcd1111' })
  const two = container('two', { id: 'abcd2222' })
  const named = container('abcd1', { id: 'ffff0000' })
  const snapshot = snapshotOf({ containers: [one, two, named] })
  const rows = [
    ['one', one, 'name'],
    ['abcd2222', two, 'id'],
    ['abcd2', two, 'prefix'],
    ['abcd1', named, 'a name beats the prefix of an id'],
    ['abcd', undefined, 'ambiguous'],
    ['fff', undefined, 'too short'],
    ['ON', undefined, 'names have a case'],
    ['', undefined, 'nothing'],
  ] as const
  for (const [text, wanted, what] of rows) t.equal(findContainer(snapshot, text), wanted, what)
})

t.test('findNetwork() takes a name, an id, and an unambiguous prefix of four digits', async t => {
  const front = network('front', 1, { id: 'abcd1111' })
  const back = network('back', 2, { id: 'abcd2222' })
  const snapshot = snapshotOf({ networks: [front, back] })
  const rows = [
    ['front', front],
    ['abcd1', front],
    ['abcd', undefined],
    ['abc', undefined],
    ['nothing', undefined],
  ] as const
  for (const [text, wanted] of rows) t.equal(findNetwork(snapshot, text), wanted, text)
})

t.test('replicasOf() gives the replicas of one project’s service by number', async t => {
  const replica = (project: string, service: string, number: number) =>
    container(`${project}-${service}-${number}`, { project, service, number })
  const containers = [
    replica('shop', 'web', 10),
    replica('shop', 'web', 2),
    replica('shop', 'api', 1),
    replica('mall', 'web', 1),
  ]
  const found = replicasOf(snapshotOf({ containers }), 'shop', 'web')
  t.strictSame(
    found.map(({ number }) => number),
    [2, 10],
  )
})
