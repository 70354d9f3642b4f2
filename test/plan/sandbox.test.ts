import t from 'tap'
import { orderedEndpoints, planLinks, planSandbox } from '../../src/plan/sandbox.js'
import {
  container,
  containerSpec,
  endpoint,
  network,
  running,
  snapshotOf,
} from '../catalog/records.js'
import type { Network } from '../../src/catalog/network.js'

const alpha = network('alpha', 1)
const beta = network('beta', 2)
const inner = network('inner', 3, { isInternal: true })
const bridge = network('bridge', 4, { isBuiltin: true })
const dual = network('dual', 5, {
  hasIpv6: true,
  subnets: [
    { subnet: '10.0.5.0/24', gateway: '10.0.5.1', auxAddresses: {} },
    { subnet: 'fd00:5::/64', gateway: 'fd00:5::1', auxAddresses: {} },
  ],
})
const networks = [alpha, beta, inner, bridge, dual]

function planOn(on: readonly Network[], priorities: Readonly<Record<string, number>> = {}) {
  const box = container('box', {
    endpoints: on.map((one, i) =>
      endpoint('box', one, i + 2, { gatewayPriority: priorities[one.name] ?? 0 }),
    ),
  })
  const snapshot = snapshotOf({ networks, containers: [box] })
  const plan = planSandbox(snapshot, box)
  const names = orderedEndpoints(snapshot, box).map(one => one.network.name)
  return { ...plan, names }
}

t.test('orderedEndpoints() is Docker’s order, whatever the order of attaching', async t => {
  const rows = [
    [[beta, alpha], {}, ['alpha', 'beta'], 'by name'],
    [[alpha, beta], { beta: 1 }, ['beta', 'alpha'], 'by priority'],
    [[inner, beta], {}, ['beta', 'inner'], 'internal ones last'],
    [[alpha, dual], {}, ['dual', 'alpha'], 'more families first'],
    [[inner, alpha], { inner: 5 }, ['inner', 'alpha'], 'priority beats all'],
  ] as const
  for (const [on, priorities, wanted, what] of rows) {
    t.strictSame(planOn(on, priorities).names, wanted, what)
  }
})

t.test('planSandbox() leaves by the first network that has a way out, a family', async t => {
  const plan = planOn([inner, alpha, dual], { inner: 9, alpha: 5 })
  t.equal(plan.gateway4?.network.name, 'alpha')
  t.equal(plan.gateway6?.network.name, 'dual')
  t.strictSame(plan.hostGateways, ['10.0.1.1', 'fd00:5::1'])
  t.equal(plan.hasExternalAccess, true)
})

t.test('planSandbox() has no way out on internal networks or none', async t => {
  for (const on of [[inner], []]) {
    const plan = planOn(on)
    t.equal(plan.hasExternalAccess, false)
    t.strictSame(plan.hostGateways, [])
    t.equal(plan.gateway4, undefined)
  }
})

t.test('planSandbox() has a resolver unless the default bridge is all there is', async t => {
  t.equal(planOn([bridge]).hasResolver, false)
  t.equal(planOn([bridge, alpha]).hasResolver, true)
  t.equal(planOn([]).hasResolver, true, 'detached: names come back with a network')
})

t.test('planSandbox() ignores an endpoint whose network is gone', async t => {
  const box = container('box', { endpoints: [endpoint('box', network('gone', 9), 2)] })
  t.strictSame(planSandbox(snapshotOf({ networks, containers: [box] }), box).attached, [])
})

t.test('planLinks() means running replicas and containers on a common network', async t => {
  const links = [
    { target: 'db', alias: 'database', isExternal: false },
    { target: 'other', alias: 'out', isExternal: true },
  ]
  const of = (name: string, on: Network, more: object = {}) =>
    container(name, { endpoints: [endpoint(name, on, name.length + 2)], ...more })
  const box = of('box', alpha, { project: 'shop', spec: containerSpec({ links }) })
  const service = { project: 'shop', service: 'db' }
  const stopped = of('shop-db-3x', alpha, service)
  const snapshot = snapshotOf({
    networks,
    containers: [
      box,
      of('shop-db-1', alpha, service),
      of('shop-db-22', beta, service),
      stopped,
      of('mall-db-123', alpha, { project: 'mall', service: 'db' }),
      of('other', alpha),
    ],
    statuses: [running(stopped, { state: 'exited' })],
  })
  t.strictSame(
    planLinks(snapshot, box).map(link => `${link.alias} ${link.container.name}`),
    ['database shop-db-1', 'out other'],
  )
})
