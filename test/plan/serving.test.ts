import t from 'tap'
import type { Container, ContainerStatus } from '../../src/catalog/container.js'
import { defaultBalance, type ServiceSpec } from '../../src/catalog/service.js'
import {
  dnsHealthLabel,
  destinationsOf,
  isGated,
  serviceKeyOf,
  whyNotReady,
  whyNotServing,
} from '../../src/plan/serving.js'
import {
  container,
  containerSpec,
  endpoint,
  healthcheck,
  network,
  project,
  running,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1)
const draining = { since: '2026-01-01T00:00:00.000Z', deadline: '2026-01-01T00:00:10.000Z' }

function readiness(isReady: boolean): Pick<ContainerStatus, 'readiness'> {
  const reason = isReady ? 'it listens' : 'nothing listens on port 80'
  return { readiness: { isReady, reason, since: '2026-01-01T00:00:00.000Z' } }
}

function replica(number: number, more: Partial<Container> = {}): Container {
  const name = `shop-web-${number}`
  const endpoints = [endpoint(name, front, number + 1)]
  return container(name, { project: 'shop', service: 'web', number, endpoints, ...more })
}

/** Numbers of the replicas that get connections. */
function chosen(
  states: readonly Partial<ContainerStatus & Pick<Container, 'draining' | 'spec'>>[],
  spec: Partial<ServiceSpec> = {},
): number[] {
  const replicas = states.map(({ draining: drain, spec: own }, i) =>
    replica(i + 1, { ...(drain && { draining: drain }), ...(own && { spec: own }) }),
  )
  const snapshot = snapshotOf({
    networks: [front],
    containers: replicas,
    statuses: replicas.map((one, i) => {
      const { draining: _draining, spec: _spec, ...status } = states[i] ?? {}
      return running(one, status)
    }),
    projects: [project('shop', [service('web', spec)])],
  })
  return destinationsOf(snapshot, 'shop', 'web').map(({ number }) => number)
}

t.test('destinationsOf() takes those that run, do not drain, and are ready', async t => {
  const checked = containerSpec({ healthcheck })
  const rows: readonly (readonly [string, Parameters<typeof chosen>[0], readonly number[]])[] = [
    ['all that run', [{}, {}], [1, 2]],
    ['ready ones before those that are not', [readiness(true), readiness(false)], [1]],
    ['without a probe: ready', [{}, readiness(false)], [1]],
    ['unhealthy ones last', [{ health: 'unhealthy' }, {}], [2]],
    ['none that drains', [{ draining }, {}], [2]],
    ['none that stops, ended or waits', [{ state: 'stopping' }, { state: 'exited' }, {}], [3]],
    ['none that starts again', [{ state: 'restarting' }, { state: 'created' }], []],
    ['none before its first healthy', [{ spec: checked, health: 'starting' }, {}], [2]],
    ['once healthy', [{ spec: checked, hasBeenHealthy: true }], [1]],
    ['panic: all that serve', [readiness(false), readiness(false)], [1, 2]],
    ['panic: not those that drain', [readiness(false), { ...readiness(true), draining }], [1]],
    [
      'panic: not those never healthy',
      [readiness(false), { spec: checked, health: 'starting' }],
      [1],
    ],
    ['nobody', [], []],
  ]
  for (const [name, states, wanted] of rows) t.strictSame(chosen(states), wanted, name)
})

t.test('destinationsOf() without panic takes nobody while none is ready', async t => {
  const calm = { balance: { ...defaultBalance, isPanicking: false } }
  t.strictSame(chosen([readiness(false), { health: 'unhealthy' }], calm), [])
  t.strictSame(chosen([readiness(false), readiness(true)], calm), [2])
})

t.test('destinationsOf() goes by number, not by when a replica was made', async t => {
  const replicas = [10, 2, 1].map(number => replica(number))
  const snapshot = snapshotOf({ networks: [front], containers: replicas })
  const numbers = destinationsOf(snapshot, 'shop', 'web').map(({ number }) => number)
  t.strictSame(numbers, [1, 2, 10])
})

t.test('whyNotServing() says why, in a few words', async t => {
  const web = replica(1)
  const checked = replica(1, { spec: containerSpec({ healthcheck }) })
  const rows: readonly (readonly [Container, ContainerStatus | undefined, string | undefined])[] = [
    [web, undefined, 'not started'],
    [web, running(web, { state: 'created' }), 'not started'],
    [web, running(web, { state: 'stopping' }), 'stopping'],
    [web, running(web, { state: 'restarting' }), 'restarting'],
    [web, running(web, { state: 'exited' }), 'exited'],
    [{ ...web, draining }, running(web), 'draining'],
    [checked, running(checked), 'not healthy yet'],
    [checked, running(checked, { hasBeenHealthy: true, health: 'unhealthy' }), undefined],
    [web, running(web, readiness(false)), undefined],
    [web, running(web), undefined],
  ]
  for (const [one, status, wanted] of rows) {
    t.equal(whyNotServing(one, status), wanted, `${status?.state} ${wanted}`)
  }
})

t.test('whyNotReady() has the probe’s reason before the healthcheck’s', async t => {
  const web = replica(1)
  const rows = [
    [{}, undefined],
    [readiness(true), undefined],
    [readiness(false), 'nothing listens on port 80'],
    [{ health: 'unhealthy' }, 'its healthcheck fails'],
    [{ health: 'unhealthy', ...readiness(false) }, 'nothing listens on port 80'],
  ] as const
  for (const [more, wanted] of rows) t.equal(whyNotReady(running(web, more)), wanted)
  t.equal(whyNotReady(undefined), undefined)
})

t.test(
  'isGated() is over with the first healthy, and never there where a label says so',
  async t => {
    const gated = replica(1, { spec: containerSpec({ healthcheck }) })
    const keep = containerSpec({ healthcheck, labels: { [dnsHealthLabel]: 'keep' } })
    t.equal(isGated(gated, running(gated)), true)
    t.equal(isGated(gated, running(gated, { hasBeenHealthy: true, health: 'unhealthy' })), false)
    t.equal(isGated(replica(1, { spec: keep }), running(gated)), false)
    t.equal(isGated(replica(1), running(gated)), false)
  },
)

t.test('serviceKeyOf() is none for a container of no service', async t => {
  t.equal(serviceKeyOf(replica(1)), 'shop/web')
  t.equal(serviceKeyOf(container('lone')), undefined)
})
