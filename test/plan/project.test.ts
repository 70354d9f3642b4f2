import fc from 'fast-check'
import t from 'tap'
import type { Container } from '../../src/catalog/container.js'
import type { ProjectSpec } from '../../src/catalog/project.js'
import type { ServiceSpec } from '../../src/catalog/service.js'
import {
  declarationOf,
  digestOf,
  planProject,
  replicaName,
  type ProjectPlan,
} from '../../src/plan/project.js'
import {
  attachment,
  container,
  containerSpec,
  endpoint,
  network,
  networkSpec,
  project,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1, {
  project: 'shop',
  declaration: declarationOf(networkSpec('front')),
})
const web = service('web', { replicas: 2, attachments: [attachment('front')] })
const db = service('db', { attachments: [attachment('front')] })
const shop = project('shop', [web, db])

/** What a finished `up` of `spec` leaves in the catalog. */
function upOf(spec: ProjectSpec): Container[] {
  return spec.services.flatMap(one =>
    Array.from({ length: one.replicas }, (_, index) => replicaOf(spec, one, index + 1)),
  )
}

function replicaOf(spec: ProjectSpec, of: ServiceSpec, number: number): Container {
  const name = replicaName(spec.name, of, number)
  return container(name, {
    project: spec.name,
    service: of.name,
    number,
    digest: digestOf(of),
    endpoints: of.attachments.length > 0 ? [endpoint(name, front, number + 1)] : [],
  })
}

const before = snapshotOf({ networks: [front], containers: upOf(shop), projects: [shop] })

function summary(plan: ProjectPlan): object {
  return {
    create: plan.create.map(one => one.name),
    replaces: plan.create.flatMap(one => one.replaces?.name ?? []),
    keep: plan.keep.map(one => one.name),
    remove: plan.remove.map(one => one.name),
    orphans: plan.orphans.map(one => one.name),
  }
}

const nothing = { create: [], replaces: [], keep: [], remove: [], orphans: [] }
const all = ['shop-web-1', 'shop-web-2', 'shop-db-1']

t.test('planProject() makes everything where nothing is', async t => {
  const plan = planProject(snapshotOf({}), shop)
  t.strictSame(summary(plan), { ...nothing, create: all })
  t.strictSame(
    plan.createNetworks.map(({ spec }) => spec.name),
    ['front'],
  )
})

t.test('planProject() changes nothing for the same file', async t => {
  const plan = planProject(before, structuredClone(shop))
  t.strictSame(summary(plan), { ...nothing, keep: all })
  t.strictSame([plan.createNetworks, plan.replaceNetworks], [[], []])
})

t.test('planProject() adds and removes replicas from the end', async t => {
  const scaled = (replicas: number): ProjectPlan =>
    planProject(before, project('shop', [{ ...web, replicas }, db]))
  t.strictSame(summary(scaled(3)), { ...nothing, create: ['shop-web-3'], keep: all })
  t.strictSame(summary(scaled(1)), {
    ...nothing,
    keep: ['shop-web-1', 'shop-db-1'],
    remove: ['shop-web-2'],
  })
})

t.test('planProject() replaces the replicas of a changed service and no others', async t => {
  const changed = { ...web, container: containerSpec({ argv: ['sleep', '1'] }) }
  t.strictSame(summary(planProject(before, project('shop', [changed, db]))), {
    ...nothing,
    create: ['shop-web-1', 'shop-web-2'],
    replaces: ['shop-web-1', 'shop-web-2'],
    keep: ['shop-db-1'],
  })
})

t.test('planProject() replaces who shares the sandbox of a replaced container', async t => {
  const mode = { kind: 'service', service: 'web' } as const
  const side = service('side', { container: containerSpec({ networkMode: mode }) })
  const spec = project('shop', [{ ...web, replicas: 1 }, side])
  const [owner, joiner] = upOf(spec)
  if (owner === undefined || joiner === undefined) throw new Error('Expected two containers')
  const snapshot = snapshotOf({
    networks: [front],
    containers: [owner, { ...joiner, sandboxOf: owner.id }],
  })
  const changed = { ...web, replicas: 1, container: containerSpec({ argv: ['sleep', '1'] }) }
  t.strictSame(summary(planProject(snapshot, project('shop', [changed, side]))), {
    ...nothing,
    create: ['shop-web-1', 'shop-side-1'],
    replaces: ['shop-web-1', 'shop-side-1'],
  })
})

t.test('planProject() calls replicas of services that went orphans', async t => {
  t.strictSame(summary(planProject(before, project('shop', [db]))), {
    ...nothing,
    keep: ['shop-db-1'],
    orphans: ['shop-web-1', 'shop-web-2'],
  })
})

t.test(
  'planProject() makes a network anew whose declaration changed, with its members',
  async t => {
    const internal = { ...networkSpec('front'), isInternal: true }
    const networks = [{ key: 'front', spec: internal, isExternal: false }]
    const plan = planProject(before, { ...shop, networks })
    t.strictSame(
      plan.replaceNetworks.map(({ old }) => old.name),
      ['front'],
    )
    t.strictSame(summary(plan), { ...nothing, create: all, replaces: all })
  },
)

t.test('planProject() leaves external networks and those of other projects alone', async t => {
  const other = network('front', 1, { project: 'mall', declaration: 'another' })
  const external = [{ key: 'front', spec: networkSpec('front'), isExternal: true }]
  for (const networks of [external, shop.networks]) {
    const plan = planProject(snapshotOf({ networks: [other] }), { ...shop, networks })
    t.strictSame([plan.createNetworks, plan.replaceNetworks], [[], []])
  }
})

t.test('planProject() makes a container anew whose removal is under way', async t => {
  const containers = upOf(shop).map(one =>
    one.name === 'shop-db-1' ? { ...one, desired: 'removed' as const } : one,
  )
  const plan = planProject(snapshotOf({ networks: [front], containers }), shop)
  t.strictSame(
    plan.create.map(one => one.name),
    ['shop-db-1'],
  )
})

t.test('digestOf() tells neither the number of replicas nor the order of keys', async t => {
  const environment = { A: '1', B: '2' }
  const turned = { B: '2', A: '1' }
  const of = (values: Readonly<Record<string, string>>, replicas: number): string =>
    digestOf({ ...web, replicas, container: containerSpec({ environment: values }) })
  t.equal(of(environment, 1), of(turned, 5))
  t.not(of(environment, 1), of({ A: '1' }, 1))
  t.not(digestOf(web), digestOf({ ...web, attachments: [attachment('back')] }))
})

t.test('declarationOf() is of what was declared, not of the network’s name', async t => {
  t.equal(declarationOf(networkSpec('a')), declarationOf(networkSpec('b')))
  t.not(declarationOf(networkSpec('a')), declarationOf(networkSpec('a', { hasIpv6: true })))
})

t.test('planProject() accounts for every container of the project exactly once', async t => {
  const services = fc.array(
    fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      replicas: fc.nat(4),
      argv: fc.constantFrom(['sleep', '1'], ['sleep', '2']),
    }),
    { maxLength: 3 },
  )
  interface Row {
    readonly name: string
    readonly replicas: number
    readonly argv: readonly string[]
  }
  const toProject = (chosen: readonly Row[]): ProjectSpec => {
    const byName = new Map(chosen.map(one => [one.name, one]))
    return project(
      'shop',
      [...byName.values()].map(({ name, replicas, argv }) =>
        service(name, { replicas, container: containerSpec({ argv }) }),
      ),
    )
  }
  fc.assert(
    fc.property(services, services, (first, second) => {
      const old = upOf(toProject(first))
      const spec = toProject(second)
      const plan = planProject(snapshotOf({ containers: old }), spec)
      const gone = [
        ...plan.create.flatMap(({ replaces }) => replaces ?? []),
        ...plan.remove,
        ...plan.orphans,
      ]
      const counted = [...gone, ...plan.keep].map(({ name }) => name).sort()
      const after = [...plan.keep, ...plan.create].map(({ name }) => name).sort()
      const wanted = upOf(spec).map(({ name }) => name)
      t.strictSame(counted, old.map(({ name }) => name).sort())
      t.strictSame(after, wanted.sort())
    }),
    { numRuns: 200 },
  )
})
