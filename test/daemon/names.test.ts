import fc from 'fast-check'
import t from 'tap'
import { explain } from '../../resolver/explain.js'
import { TYPE } from '../../resolver/rr.js'
import type { View } from '../../resolver/view.js'
import { Catalog, type Snapshot } from '../../src/catalog/catalog.js'
import type { Change } from '../../src/catalog/change.js'
import type { Container } from '../../src/catalog/container.js'
import { Names } from '../../src/daemon/names.js'
import {
  allocation,
  attachment,
  container,
  endpoint,
  network,
  project,
  running,
  service,
} from '../catalog/records.js'

const networks = [network('front', 1), network('back', 2)]
const outlook = { policy: { upstreams: [] } }
const questions = ['a', 'b', 'c', 'asker', 'web', 'www', 'tasks.web', 'side', 'a.front', 'b.back']

const asker = container('asker', {
  project: 'shop',
  endpoints: networks.map(one => endpoint('asker', one, 200)),
})

/** What a view answers to every question, in one text. */
function answersOf(view: View): string {
  return questions
    .map(name => {
      const { outcome, answers } = explain(view, name, TYPE.A)
      return `${name} ${outcome} ${answers.map(({ data }) => data).sort()}`
    })
    .join('\n')
}

/** As a daemon that starts now would answer. */
function freshAnswers(snapshot: Snapshot): string {
  const names = new Names({ setView: () => undefined })
  names.load(snapshot)
  return answersOf(names.setOutlook(snapshot, asker, outlook))
}

const member = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    on: fc.subarray(networks),
    isReplica: fc.boolean(),
    alias: fc.constantFrom('www', '*.w', 'side'),
    owner: fc.constantFrom(undefined, 'a', 'b'),
  })
  .map(({ name, on, isReplica, alias, owner }): Container => {
    const octet = name.charCodeAt(0)
    const isJoiner = owner !== undefined && owner !== name
    return container(name, {
      project: 'shop',
      ...(isReplica && { service: 'web' }),
      endpoints: isJoiner ? [] : on.map(one => endpoint(name, one, octet, { aliases: [alias] })),
      ...(isJoiner && { sandboxOf: container(owner).id }),
    })
  })
const web = service('web', { attachments: [attachment('front', { aliases: ['www'] })] })
const change: fc.Arbitrary<Change> = fc.oneof(
  member.map((one): Change => ({ op: 'put-container', container: one })),
  member.map(({ id }): Change => ({ op: 'remove-container', id })),
  fc
    .tuple(member, fc.constantFrom('running', 'exited', 'stopping'))
    .map(([one, state]): Change => ({ op: 'put-status', status: running(one, { state }) })),
  fc.subarray(networks).map((on): Change => {
    const vips = on.map(({ id }, i) => [id, { ipv4: `10.0.${i + 1}.99/24` }])
    const given = allocation('shop', 'web', { vips: Object.fromEntries(vips) })
    return { op: 'put-allocation', allocation: given }
  }),
  fc.constant<Change>({ op: 'remove-allocation', key: 'shop/web' }),
  fc.constantFrom<Change>(
    { op: 'put-project', project: project('shop', [web]) },
    { op: 'put-project', project: project('shop', []) },
    { op: 'remove-project', name: 'shop' },
  ),
)

t.test('Names after any changes answers as one that starts with their result', async t => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 12 }), batches => {
      const catalog = new Catalog()
      let view: View | undefined
      const names = new Names({ setView: (_id, next) => (view = next) })
      catalog.apply([
        ...networks.map((one): Change => ({ op: 'put-network', network: one })),
        { op: 'put-container', container: asker },
        { op: 'put-status', status: running(asker) },
      ])
      names.load(catalog.snapshot)
      view = names.setOutlook(catalog.snapshot, asker, outlook)
      catalog.subscribe((snapshot, delta, previous) => names.update(snapshot, delta, previous))
      for (const batch of batches) {
        catalog.apply(batch)
        t.equal(answersOf(view), freshAnswers(catalog.snapshot))
      }
    }),
    { numRuns: 200 },
  )
})

t.test('Names tells the views of a network of a change before apply() returns', async t => {
  const catalog = new Catalog()
  const told: string[] = []
  const names = new Names({ setView: id => told.push(id) })
  const [front = network('none', 9), back = front] = networks
  const onFront = container('onfront', { endpoints: [endpoint('onfront', front, 3)] })
  const onBack = container('onback', { endpoints: [endpoint('onback', back, 4)] })
  catalog.apply([
    ...networks.map((one): Change => ({ op: 'put-network', network: one })),
    { op: 'put-container', container: onFront },
    { op: 'put-container', container: onBack },
  ])
  names.load(catalog.snapshot)
  for (const one of [onFront, onBack]) names.setOutlook(catalog.snapshot, one, outlook)
  catalog.subscribe((snapshot, delta, previous) => names.update(snapshot, delta, previous))
  catalog.apply([{ op: 'put-status', status: running(onFront) }])
  t.strictSame(told, [onFront.id], 'and those of no other network')
})
