import fc from 'fast-check'
import t from 'tap'
import { applyChanges } from '../../src/catalog/apply.js'
import { emptySnapshot, type Snapshot } from '../../src/catalog/catalog.js'
import type { Change } from '../../src/catalog/change.js'
import { allocation, container, endpoint, network, project, running, service } from './records.js'

const front = network('front', 1)
const back = network('back', 2)
const web = container('web', { endpoints: [endpoint('web', front, 2)] })
const api = container('api', { endpoints: [endpoint('api', front, 3), endpoint('api', back, 3)] })
const side = container('side', { sandboxOf: web.id })

function apply(snapshot: Snapshot, ...changes: readonly Change[]): ReturnType<typeof applyChanges> {
  return applyChanges(snapshot, changes)
}

const base = apply(
  emptySnapshot,
  { op: 'put-network', network: front },
  { op: 'put-network', network: back },
  { op: 'put-container', container: web },
  { op: 'put-container', container: api },
).snapshot

t.test('applyChanges() returns the same snapshot for what holds already', async t => {
  const again: Change[] = [
    { op: 'put-network', network: { ...front } },
    { op: 'put-container', container: structuredClone(web) },
    { op: 'remove-container', id: 'nobody' },
    { op: 'remove-network', id: 'nothing' },
    { op: 'remove-project', name: 'none' },
    { op: 'put-status', status: running(container('stranger')) },
  ]
  for (const change of again) t.equal(apply(base, change).snapshot, base, change.op)
})

t.test('applyChanges() leaves the snapshot it was given as it was', async t => {
  const before = structuredClone({ members: base.members, containers: base.containers })
  apply(
    base,
    { op: 'remove-container', id: web.id },
    { op: 'put-container', container: { ...api, endpoints: [] } },
    { op: 'remove-network', id: back.id },
  )
  t.strictSame({ members: base.members, containers: base.containers }, before)
})

t.test('applyChanges() shares every map that did not change', async t => {
  const { snapshot } = apply(base, { op: 'put-status', status: running(web) })
  t.not(snapshot.statuses, base.statuses)
  t.equal(snapshot.containers, base.containers)
  t.equal(snapshot.networks, base.networks)
  t.equal(snapshot.members, base.members)
})

t.test('applyChanges() names the networks of a container whose status changed', async t => {
  const { delta } = apply(base, { op: 'put-status', status: running(api) })
  t.strictSame([...delta.containers], [api.id])
  t.strictSame([...delta.affectedNetworks], [front.id, back.id])
})

t.test('applyChanges() names the networks that a container left and joined', async t => {
  const moved = { ...web, endpoints: [endpoint('web', back, 2)] }
  const { snapshot, delta } = apply(base, { op: 'put-container', container: moved })
  t.strictSame([...delta.affectedNetworks], [front.id, back.id])
  t.strictSame([...(snapshot.members.get(front.id) ?? [])], [api.id])
  t.strictSame([...(snapshot.members.get(back.id) ?? [])], [api.id, web.id])
})

t.test('applyChanges() names the networks of the owner when a joiner comes and goes', async t => {
  const joined = apply(base, { op: 'put-container', container: side })
  t.strictSame([...joined.delta.affectedNetworks], [front.id])
  t.strictSame([...(joined.snapshot.joiners.get(web.id) ?? [])], [side.id])
  const left = apply(joined.snapshot, { op: 'remove-container', id: side.id })
  t.strictSame([...left.delta.affectedNetworks], [front.id])
  t.equal(left.snapshot.joiners.has(web.id), false)
})

t.test('applyChanges() removes the status with the container', async t => {
  const started = apply(base, { op: 'put-status', status: running(web) }).snapshot
  const { snapshot } = apply(started, { op: 'remove-container', id: web.id })
  t.equal(snapshot.statuses.has(web.id), false)
  const late = apply(snapshot, { op: 'put-status', status: running(web) })
  t.equal(late.snapshot, snapshot, 'a status that arrives late is nobody’s')
})

t.test('applyChanges() forgets a network whose last member left', async t => {
  const { snapshot } = apply(base, { op: 'put-container', container: { ...api, endpoints: [] } })
  t.equal(snapshot.members.has(back.id), false)
  t.strictSame([...(snapshot.members.get(front.id) ?? [])], [web.id])
})

t.test('applyChanges() names the networks whose virtual addresses came and went', async t => {
  const vip = (host: number) => ({ ipv4: `10.0.1.${host}/24` })
  const onFront = allocation('shop', 'web', { vips: { [front.id]: vip(9) } })
  const onBack = allocation('shop', 'web', { vips: { [back.id]: vip(9) } })
  const put = apply(base, { op: 'put-allocation', allocation: onFront })
  t.strictSame([...put.delta.allocations], ['shop/web'])
  t.strictSame([...put.delta.affectedNetworks], [front.id])
  t.equal(put.snapshot.allocations.get('shop/web'), onFront)
  t.equal(put.snapshot.containers, base.containers)
  const moved = apply(put.snapshot, { op: 'put-allocation', allocation: onBack })
  t.strictSame([...moved.delta.affectedNetworks], [front.id, back.id])
  const removed = apply(moved.snapshot, { op: 'remove-allocation', key: 'shop/web' })
  t.strictSame([...removed.delta.allocations], ['shop/web'])
  t.strictSame([...removed.delta.affectedNetworks], [back.id])
  t.equal(removed.snapshot.allocations.size, 0)
  t.equal(moved.snapshot.allocations.size, 1, 'the snapshot before has it still')
})

t.test('applyChanges() does nothing for an allocation that is as it was', async t => {
  const web = allocation('shop', 'web', { vips: { [front.id]: { ipv4: '10.0.1.9/24' } } })
  const { snapshot } = apply(base, { op: 'put-allocation', allocation: web })
  for (const change of [
    { op: 'put-allocation', allocation: structuredClone(web) },
    { op: 'remove-allocation', key: 'shop/none' },
  ] as const) {
    t.equal(apply(snapshot, change).snapshot, snapshot, change.op)
  }
})

t.test('applyChanges() counts one version a swap, whatever its size', async t => {
  const { snapshot } = apply(
    base,
    { op: 'remove-container', id: web.id },
    { op: 'remove-container', id: api.id },
    { op: 'put-project', project: project('shop', [service('web')]) },
  )
  t.equal(snapshot.version, base.version + 1)
})

t.test('applyChanges() keeps indexes true whatever the order of changes', async t => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const networks = [front, back, network('third', 3)]
  const change = fc.oneof(
    fc
      .record({
        name: fc.constantFrom(...names),
        on: fc.subarray(networks),
        service: fc.constantFrom(undefined, 'web', 'db'),
        owner: fc.option(fc.constantFrom(...names), { nil: undefined }),
      })
      .map(({ name, on, service: of, owner }): Change => {
        const endpoints = on.map(one => endpoint(name, one, name.charCodeAt(0)))
        const record = container(name, {
          endpoints,
          project: 'shop',
          ...(of !== undefined && { service: of }),
        })
        const sandboxOf = owner === undefined ? {} : { sandboxOf: container(owner).id }
        return { op: 'put-container', container: { ...record, ...sandboxOf } }
      }),
    fc
      .constantFrom(...names)
      .map((name): Change => ({ op: 'remove-container', id: container(name).id })),
    fc
      .constantFrom(...names)
      .map((name): Change => ({ op: 'put-status', status: running(container(name)) })),
  )
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 8 }), batches => {
      let snapshot = emptySnapshot
      for (const batch of batches) snapshot = applyChanges(snapshot, batch).snapshot
      t.strictSame(contents(snapshot.members), contents(indexOf(snapshot, 'members')))
      t.strictSame(contents(snapshot.joiners), contents(indexOf(snapshot, 'joiners')))
      t.strictSame(contents(snapshot.replicas), contents(indexOf(snapshot, 'replicas')))
      for (const id of snapshot.statuses.keys()) if (!snapshot.containers.has(id)) return false
      return true
    }),
    { numRuns: 300 },
  )
})

/** The index as a walk over all containers finds it. */
function indexOf(
  snapshot: Snapshot,
  kind: 'members' | 'joiners' | 'replicas',
): Map<string, Set<string>> {
  const index = new Map<string, Set<string>>()
  for (const { id, endpoints, sandboxOf, service: of } of snapshot.containers.values()) {
    const keys = {
      members: endpoints.map(one => one.networkId),
      joiners: sandboxOf === undefined ? [] : [sandboxOf],
      replicas: of === undefined ? [] : [`shop/${of}`],
    }
    for (const key of keys[kind]) index.set(key, (index.get(key) ?? new Set()).add(id))
  }
  return index
}

function contents(index: ReadonlyMap<string, ReadonlySet<string>>): [string, string[]][] {
  return [...index].map(([key, ids]): [string, string[]] => [key, [...ids].sort()]).sort()
}
