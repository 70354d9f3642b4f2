import t from 'tap'
import {
  dnsLabel,
  endpointNames,
  givesNames,
  networkNames,
  ownAliases,
  serviceNames,
  servicesOn,
} from '../../src/plan/names.js'
import { dnsHealthLabel } from '../../src/plan/serving.js'
import type { Container, ContainerStatus } from '../../src/catalog/container.js'
import {
  attachment,
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

function replica(number: number, more: Partial<Container> = {}): Container {
  const name = `shop-web-${number}`
  const endpoints = [endpoint(name, front, number + 1, { aliases: ['*.wild'] })]
  return container(name, { project: 'shop', service: 'web', number, endpoints, ...more })
}

t.test(
  'givesNames() is true of user networks, and of the others where a label says so',
  async t => {
    const rows = [
      [network('user', 1), true],
      [network('bridge', 1, { isBuiltin: true }), false],
      [network('bridge', 1, { isBuiltin: true, labels: { [dnsLabel]: 'on' } }), true],
      [network('mute', 1, { labels: { [dnsLabel]: 'off' } }), false],
      [network('odd', 1, { labels: { [dnsLabel]: 'maybe' } }), true],
    ] as const
    for (const [given, wanted] of rows) t.equal(givesNames(given), wanted, given.name)
  },
)

t.test('endpointNames() names a running container on its network', async t => {
  const web = replica(1, {
    spec: containerSpec({ hostname: 'www', domainname: 'example.test' }),
  })
  const names = endpointNames(
    snapshotOf({ networks: [front], containers: [web] }),
    web.id,
    front.id,
  )
  t.strictSame(names, {
    id: web.endpoints[0]?.id,
    name: 'shop-web-1',
    aliases: ['*.wild'],
    fallbacks: [web.id.slice(0, 12), 'www', 'www.example.test'],
    addresses: ['10.0.1.2'],
    group: 'shop',
  })
})

t.test('endpointNames() gives both families without their prefix lengths', async t => {
  const on = [endpoint('web', front, 2, { ipv6: 'fd00::2/64' })]
  const web = container('web', { endpoints: on })
  const names = endpointNames(
    snapshotOf({ networks: [front], containers: [web] }),
    web.id,
    front.id,
  )
  t.strictSame(names?.addresses, ['10.0.1.2', 'fd00::2'])
})

t.test('endpointNames() leaves out who does not run, is not there or not on it', async t => {
  const web = replica(1)
  for (const state of ['created', 'stopping', 'restarting', 'exited'] as const) {
    const snapshot = snapshotOf({
      networks: [front],
      containers: [web],
      statuses: [running(web, { state })],
    })
    t.equal(endpointNames(snapshot, web.id, front.id), undefined, state)
  }
  const snapshot = snapshotOf({ networks: [front], containers: [web] })
  t.equal(endpointNames(snapshot, 'nobody', front.id), undefined, 'nobody')
  t.equal(endpointNames(snapshot, web.id, 'nowhere'), undefined, 'another network')
})

t.test('endpointNames() keeps the address back before the first healthy, unless told', async t => {
  const rows = [
    [{}, {}, 0, 'gated'],
    [{}, { hasBeenHealthy: true, health: 'healthy' }, 1, 'healthy'],
    [{}, { hasBeenHealthy: true, health: 'unhealthy' }, 1, 'unhealthy after healthy'],
    [{ [dnsHealthLabel]: 'keep' }, {}, 1, 'keep'],
    [{ [dnsHealthLabel]: 'drop' }, {}, 0, 'drop'],
  ] as const
  for (const [labels, status, addresses, what] of rows) {
    const web = replica(1, { spec: containerSpec({ healthcheck, labels }) })
    const snapshot = snapshotOf({
      networks: [front],
      containers: [web],
      statuses: [running(web, status)],
    })
    const names = endpointNames(snapshot, web.id, front.id)
    t.equal(names?.addresses.length, addresses, what)
  }
})

t.test('endpointNames() lends the owner of a sandbox the names of its joiners', async t => {
  const web = replica(1)
  const side = container('sidecar', { sandboxOf: web.id })
  const idle = container('idle', { sandboxOf: web.id })
  const snapshot = snapshotOf({
    networks: [front],
    containers: [web, side, idle],
    statuses: [running(idle, { state: 'exited' })],
  })
  t.strictSame(endpointNames(snapshot, web.id, front.id)?.aliases, ['*.wild', 'sidecar'])
})

t.test('serviceNames() hands out the tasks that run and were healthy', async t => {
  const spec = containerSpec({ healthcheck })
  const replicas = [1, 2, 3, 4].map(number => replica(number, { spec }))
  const of = (index: number, more: Partial<ContainerStatus>): ContainerStatus =>
    running(replicas[index] ?? container('none'), more)
  const web = service('web', {
    attachments: [attachment('front', { aliases: ['www', '*.wild'] })],
    ports: [
      { name: 'http', target: 80, isPublished: false, protocol: 'tcp', mode: 'ingress' },
      { target: 53, isPublished: false, protocol: 'udp', mode: 'ingress' },
    ],
  })
  const snapshot = snapshotOf({
    networks: [front],
    containers: replicas,
    statuses: [
      of(0, { hasBeenHealthy: true, health: 'healthy' }),
      of(1, { hasBeenHealthy: true, health: 'unhealthy' }),
      of(2, { hasBeenHealthy: false }),
      of(3, { hasBeenHealthy: true, state: 'stopping' }),
    ],
    projects: [project('shop', [web])],
  })
  t.strictSame(serviceNames(snapshot, front, 'shop', web), {
    name: 'web',
    aliases: ['www'],
    vips: [],
    tasks: [0, 1].map(index => ({ endpointId: replicas[index]?.endpoints[0]?.id })),
    ports: [
      { port: 80, protocol: 'tcp', name: 'http' },
      { port: 53, protocol: 'udp' },
    ],
    group: 'shop',
  })
})

t.test('serviceNames() drops unhealthy tasks where asked to, but never the last one', async t => {
  const spec = containerSpec({ healthcheck, labels: { [dnsHealthLabel]: 'drop' } })
  const [one, two] = [replica(1, { spec }), replica(2, { spec })]
  const web = service('web', { container: spec, attachments: [attachment('front')] })
  const tasks = (first: 'healthy' | 'unhealthy'): readonly { readonly endpointId: string }[] =>
    serviceNames(
      snapshotOf({
        networks: [front],
        containers: [one, two],
        statuses: [
          running(one, { hasBeenHealthy: true, health: first }),
          running(two, { hasBeenHealthy: true, health: 'unhealthy' }),
        ],
        projects: [project('shop', [web])],
      }),
      front,
      'shop',
      web,
    ).tasks
  t.strictSame(tasks('healthy'), [{ endpointId: one.endpoints[0]?.id }])
  t.equal(tasks('unhealthy').length, 2)
})

t.test('networkNames() is the sum of its members and services', async t => {
  const back = network('back', 2)
  const web = service('web', { attachments: [attachment('front')] })
  const api = service('api', { attachments: [attachment('back')] })
  const snapshot = snapshotOf({
    networks: [front, back],
    containers: [replica(1), replica(2), container('api', { endpoints: [endpoint('a', back, 9)] })],
    projects: [project('shop', [web, api])],
  })
  const names = networkNames(snapshot, front)
  t.strictSame(
    names.endpoints.map(({ name }) => name),
    ['shop-web-1', 'shop-web-2'],
  )
  t.strictSame(
    names.services?.map(({ name }) => name),
    ['web'],
  )
  t.strictSame([names.subnets, names.gateways], [['10.0.1.0/24'], ['10.0.1.1']])
})

t.test('servicesOn() finds services of every project by the name of the network', async t => {
  const web = service('web', { attachments: [attachment('front')] })
  const lone = service('lone')
  const projects = [project('shop', [web, lone]), project('mall', [web])]
  const found = servicesOn(snapshotOf({ networks: [front], projects }), front)
  t.strictSame(
    found.map(({ project, service: { name } }) => `${project}/${name}`),
    ['shop/web', 'mall/web'],
  )
})

t.test('ownAliases() leaves plain aliases to the service and wildcards to the replica', async t => {
  t.strictSame(ownAliases(['a', '*.b'], true), ['*.b'])
  t.strictSame(ownAliases(['a', '*.b'], false), ['a', '*.b'])
})
