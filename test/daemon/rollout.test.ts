import t, { type Test } from 'tap'
import { Catalog } from '../../src/catalog/catalog.js'
import type { Change } from '../../src/catalog/change.js'
import type { Container, ContainerStatus } from '../../src/catalog/container.js'
import type { UpdateSpec } from '../../src/catalog/service.js'
import { Rollout, rolledReplicas } from '../../src/daemon/rollout.js'
import { declarationOf, digestOf, planProject } from '../../src/plan/project.js'
import {
  attachment,
  container,
  containerSpec,
  endpoint,
  network,
  networkSpec,
  project,
  running,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1, {
  project: 'shop',
  declaration: declarationOf(networkSpec('front')),
})
const argv = ['sleep', '2']
const web = service('web', {
  replicas: 3,
  container: containerSpec({ argv }),
  attachments: [attachment('front')],
})

function old(number: number, more: Partial<Container> = {}): Container {
  return container(`shop-web-${number}`, {
    project: 'shop',
    service: 'web',
    number,
    digest: 'of an earlier file',
    endpoints: [endpoint(`old-${number}`, front, number + 1)],
    ...more,
  })
}

/** In the place of `old(number)`, at an address of its own. */
function next(number: number, more: Partial<Container> = {}): Container {
  return old(number, {
    id: container(`next-${number}`).id,
    digest: digestOf(web),
    endpoints: [endpoint(`next-${number}`, front, number + 101)],
    ...more,
  })
}

t.test('rolledReplicas() has those that can stand beside their successors', async t => {
  const joiner = container('side', { sandboxOf: old(1).id })
  const fixed = endpoint('old-1', front, 9, { isStatic: true })
  const rows: readonly (readonly [
    string,
    readonly Container[],
    Partial<ContainerStatus>,
    number[],
  ])[] = [
    ['that run', [old(1), old(2)], {}, [1, 2]],
    ['not those that do not', [old(1), old(2)], { state: 'exited' }, [2]],
    ['not with a static address', [old(1, { endpoints: [fixed] }), old(2)], {}, [2]],
    ['not in another’s sandbox', [old(1, { sandboxOf: old(2).id })], {}, []],
    ['not with others in theirs', [old(1), old(2), joiner], {}, [2]],
    ['not the same as before', [old(1, { digest: digestOf(web) }), old(2)], {}, [2]],
    ['not those that are too many', [old(4)], {}, []],
    ['not those that leave already', [old(1, { desired: 'removed' }), old(2)], {}, [2]],
  ]
  for (const [name, containers, status, wanted] of rows) {
    const snapshot = snapshotOf({
      networks: [front],
      containers,
      statuses: containers.slice(0, 1).map(one => running(one, status)),
    })
    const plan = planProject(snapshot, project('shop', [web]))
    const ids = rolledReplicas(snapshot, plan)
    t.strictSame(
      [...ids],
      wanted.map(number => old(number).id),
      name,
    )
  }
})

t.test('rolledReplicas() has nobody whose network is made anew', async t => {
  const networks = [{ ...front, declaration: 'another' }]
  const snapshot = snapshotOf({ networks, containers: [old(1)] })
  const changed = planProject(snapshot, project('shop', [web]))
  t.equal(changed.replaceNetworks.length, 1)
  t.strictSame([...rolledReplicas(snapshot, changed)], [])
})

interface Setting {
  readonly update?: Partial<UpdateSpec>
  readonly containers?: readonly Container[]
  readonly timeoutMs?: number
  /** What a started replica is at once; default ready. */
  readonly started?: Partial<ContainerStatus>
}

/** Old and new replicas 1 to 3, and what happened, in order. */
function begin(t: Test, setting: Setting = {}) {
  const { update, timeoutMs = 60_000, started = {} } = setting
  const containers = setting.containers ?? [1, 2, 3].flatMap(n => [old(n), next(n)])
  const spec = { order: 'stop-first', parallelism: 1, delayMs: 0, ...update } as const
  const catalog = new Catalog()
  const isNew = ({ digest }: Container): boolean => digest === digestOf(web)
  const label = (one: Container): string => `${isNew(one) ? 'new' : 'old'} ${one.number}`
  catalog.apply([
    { op: 'put-project', project: project('shop', [{ ...web, update: spec }]) },
    ...containers.map((one): Change => ({ op: 'put-container', container: one })),
    ...containers.map((one): Change => {
      const state = isNew(one) ? 'created' : 'running'
      return { op: 'put-status', status: running(one, { state }) }
    }),
  ])
  const events: string[] = []
  const observe = (one: Container, status: Partial<ContainerStatus>): void => {
    catalog.apply([{ op: 'put-status', status: running(one, status) }])
  }
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const rollout = new Rollout({
    catalog,
    project: 'shop',
    timeoutMs,
    signal: abort.signal,
    remove: async one => {
      events.push(`remove ${label(one)}`)
      catalog.apply([{ op: 'remove-container', id: one.id }])
    },
  })
  const replace = (one: Container): Promise<void> =>
    rollout.replace(one, async () => {
      events.push(`start ${label(one)}`)
      observe(one, started)
    })
  return { events, observe, abort, replace }
}

const unready = {
  readiness: { isReady: false, reason: 'nothing listens on port 80', since: '' },
} as const

/** Lets what is due happen. */
function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

t.test('Rollout starts one that replaces nobody, whatever the others do', async t => {
  const { events, replace } = begin(t, { containers: [next(1), old(2)], started: unready })
  await replace(next(1))
  t.strictSame(events, ['start new 1'])
})

t.test('Rollout replaces one after the other', async t => {
  const { events, replace } = begin(t)
  await Promise.all([1, 2, 3].map(number => replace(next(number))))
  t.strictSame(
    events,
    [1, 2, 3].flatMap(n => [`remove old ${n}`, `start new ${n}`]),
  )
})

t.test('Rollout start-first keeps the old one until the new one is ready', async t => {
  const setting = { update: { order: 'start-first' }, started: unready } as const
  const { events, observe, replace } = begin(t, setting)
  const done = Promise.all([replace(next(1)), replace(next(2))])
  await turn()
  t.strictSame(events, ['start new 1'], 'it is waited for')
  observe(next(1), {})
  await turn()
  t.strictSame(events.slice(1), ['remove old 1', 'start new 2'])
  observe(next(2), {})
  await done
  t.equal(events.at(-1), 'remove old 2')
})

t.test('Rollout start-first stops first where both have one address', async t => {
  const { endpoints } = old(1)
  const containers = [old(1), next(1, { endpoints })]
  const { events, replace } = begin(t, { containers, update: { order: 'start-first' } })
  await replace(next(1, { endpoints }))
  t.strictSame(events, ['remove old 1', 'start new 1'])
})

t.test('Rollout replaces as many at a time as the service says', async t => {
  for (const [parallelism, wanted] of [
    [2, 2],
    [0, 3],
  ] as const) {
    const { events, observe, replace } = begin(t, { update: { parallelism }, started: unready })
    const done = Promise.all([1, 2, 3].map(number => replace(next(number))))
    await turn()
    t.equal(events.filter(event => event.startsWith('start')).length, wanted, `${parallelism}`)
    for (const number of [1, 2, 3]) {
      observe(next(number), {})
      await turn()
    }
    // The third of two at a time began not ready, and is waited for as well.
    observe(next(3), {})
    await done
    t.equal(events.length, 6)
  }
})

t.test('Rollout waits before the next as long as the service says', async t => {
  const { events, replace } = begin(t, { update: { delayMs: 50 } })
  const startedAt = performance.now()
  await Promise.all([replace(next(1)), replace(next(2))])
  // A timer may fire a millisecond early by this clock.
  t.ok(performance.now() - startedAt >= 98, 'twice')
  t.equal(events.length, 4)
})

t.test('Rollout leaves the other old replicas alone after one that does not get ready', async t => {
  const { events, replace } = begin(t, { timeoutMs: 20, started: unready })
  const results = await Promise.allSettled([1, 2, 3].map(number => replace(next(number))))
  const reasons = results.map(result => (result.status === 'rejected' ? `${result.reason}` : ''))
  const wanted =
    'Error: "shop-web-1" is not ready (nothing listens on port 80) after 0.02 s; the replicas that were not replaced yet serve on'
  t.strictSame(reasons, [wanted, wanted, wanted])
  t.strictSame(events, ['remove old 1', 'start new 1'])
})

t.test('Rollout takes one that has done its work for ready', async t => {
  const { events, replace } = begin(t, { started: { state: 'exited', exitCode: 0 } })
  await Promise.all([replace(next(1)), replace(next(2))])
  t.equal(events.length, 4)
})

t.test('Rollout waits no longer when another command comes', async t => {
  const { abort, replace } = begin(t, { started: unready })
  const result = replace(next(1))
  await turn()
  abort.abort()
  await t.rejects(result, {
    message:
      '"shop-web-1" is not ready (nothing listens on port 80) and another command came; the replicas that were not replaced yet serve on',
  })
})

t.test('Rollout does not take the last ready one down while another is about to be', async t => {
  const { events, observe, replace } = begin(t)
  // In the place of an old one that was replaced a moment ago.
  observe(old(2), { state: 'exited', exitCode: 1 })
  observe(old(3), { state: 'exited', exitCode: 1 })
  observe(next(3), unready)
  const done = replace(next(1))
  await turn()
  t.strictSame(events, [])
  observe(next(3), {})
  await done
  t.strictSame(events, ['remove old 1', 'start new 1'])
})

t.test('Rollout replaces at once what takes no connections, and the rest then', async t => {
  const { events, observe, replace } = begin(t)
  observe(old(2), unready)
  observe(old(3), unready)
  await Promise.all([1, 2, 3].map(number => replace(next(number))))
  t.strictSame(
    events.slice(0, 4).sort(),
    [2, 3].map(n => `remove old ${n}`).concat([2, 3].map(n => `start new ${n}`)),
  )
  t.strictSame(events.slice(4), ['remove old 1', 'start new 1'])
})

t.test('Rollout replaces a service none of which was ready', async t => {
  const { events, observe, replace } = begin(t)
  for (const number of [1, 2, 3]) observe(old(number), unready)
  await Promise.all([1, 2, 3].map(number => replace(next(number))))
  t.equal(events.length, 6)
})

t.test('Rollout does not start an old one that ended while its successor waits', async t => {
  const { events, observe, replace } = begin(t)
  observe(old(1), { state: 'exited', exitCode: 1 })
  await replace(old(1))
  t.strictSame(events, [], 'nor takes its successor for the one before it')
  await replace(next(1))
  t.strictSame(events, ['remove old 1', 'start new 1'])
})
