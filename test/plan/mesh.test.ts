import fc from 'fast-check'
import t from 'tap'
import type { IngressPlace } from '../../mesh/state.js'
import type { AllocatedPort } from '../../src/catalog/allocation.js'
import type { Container } from '../../src/catalog/container.js'
import { defaultBalance, type PortSpec, type ServiceSpec } from '../../src/catalog/service.js'
import {
  planIngressPlace,
  planSandboxIngress,
  planTargets,
  planVips,
  planVirtualServices,
} from '../../src/plan/mesh.js'
import {
  allocation,
  container,
  endpoint,
  network,
  project,
  running,
  service,
  snapshotOf,
} from '../catalog/records.js'

const front = network('front', 1)
const back = network('back', 2)
const ingress = network('ingress', 9, {
  isIngress: true,
  isBuiltin: true,
  isInternal: true,
  subnets: [{ subnet: '10.0.9.0/24', gateway: '10.0.9.1', auxAddresses: { ipvs: '10.0.9.2' } }],
})
const networks = [front, back, ingress]
const balanced: Partial<ServiceSpec> = {
  balance: {
    ...defaultBalance,
    scheduler: 'wrr',
    affinity: { kind: 'client-ip', timeoutSeconds: 60 },
    weights: { '2': 3 },
  },
}

function port(published: number, target: number, more: Partial<AllocatedPort> = {}): AllocatedPort {
  return { published, target, isPublished: true, protocol: 'tcp', mode: 'ingress', ...more }
}

/** Replica `n` is at .n+10 of front, of back and of the ingress network. */
function replica(number: number, more: Partial<Container> = {}): Container {
  const name = `shop-web-${number}`
  const endpoints = [front, back, ingress].map((on, i) =>
    endpoint(name, on, number + 10, {
      interfaceName: on.isIngress ? 'ingress0' : `eth${i}`,
      ...(on === back && { ipv6: `fd00:2::${number + 10}/64` }),
    }),
  )
  return container(name, { project: 'shop', service: 'web', number, endpoints, ...more })
}

/** Ranges of the virtual service that publishes `ports`, as text. */
function rangesOf(ports: readonly AllocatedPort[]): string[] {
  const [only] = planVirtualServices(snapshotOf({}), allocation('shop', 'web', { ports }))
  return (only?.ports ?? []).map(({ protocol, first, last, address }) =>
    [protocol, `${first}-${last}`, ...(address === undefined ? [] : [address])].join(' '),
  )
}

function targetsOf(ports: readonly AllocatedPort[], own: readonly PortSpec[] = []): string[] {
  const targets = planTargets(allocation('shop', 'web', { ports }), replica(2, { ports: own }))
  return targets.map(
    ({ protocol, first, last, target, kind }) => `${protocol} ${first}-${last} ${target} ${kind}`,
  )
}

t.test('planVirtualServices() has the ingress ports of a service together', async t => {
  const replicas = [replica(1), replica(2)]
  const snapshot = snapshotOf({
    networks,
    containers: replicas,
    projects: [project('shop', [service('web', { replicas: 2, ...balanced })])],
  })
  const ports = [port(8081, 81), port(8080, 80)]
  t.strictSame(planVirtualServices(snapshot, allocation('shop', 'web', { mark: 7, ports })), [
    {
      key: 'shop/web',
      name: 'shop/web',
      mark: 7,
      ports: [{ protocol: 'tcp', first: 8080, last: 8081 }],
      scheduler: 'wrr',
      affinity: { kind: 'client-ip', timeoutSeconds: 60 },
      destinations: [1, 2].map(number => ({
        id: replicas[number - 1]?.id,
        ipv4: `10.0.9.${number + 10}`,
        weight: number === 2 ? 3 : 1,
        ownAddresses: [`10.0.1.${number + 10}`, `10.0.2.${number + 10}`, `fd00:2::${number + 10}`],
      })),
    },
  ])
})

t.test('planVirtualServices() has each port of mode host for its own replica', async t => {
  const replicas = [replica(1), replica(2)]
  const snapshot = snapshotOf({ networks, containers: replicas })
  const host = (n: number): AllocatedPort =>
    port(30_000 + n, 80, { mode: 'host', replica: n, mark: 20 + n })
  const of = allocation('shop', 'web', { ports: [host(1), host(2)] })
  t.strictSame(
    planVirtualServices(snapshot, of).map(({ key, mark, ports, destinations }) => ({
      key,
      mark,
      first: ports.map(({ first }) => first),
      to: destinations.map(({ id }) => id),
    })),
    [1, 2].map(n => ({
      key: `shop/web#${30_000 + n}/tcp`,
      mark: 20 + n,
      first: [30_000 + n],
      to: [replicas[n - 1]?.id],
    })),
  )
})

t.test(
  'planVirtualServices() keeps a service whose replicas are gone, and none unpublished',
  async t => {
    const snapshot = snapshotOf({ networks })
    const [only] = planVirtualServices(
      snapshot,
      allocation('shop', 'web', { ports: [port(80, 80)] }),
    )
    t.strictSame(only?.destinations, [], 'its ports stay taken, and refuse')
    t.strictSame(planVirtualServices(snapshot, allocation('shop', 'web')), [])
  },
)

t.test('planVirtualServices() leaves out a replica that is not on the ingress yet', async t => {
  const [first, second] = [replica(1), replica(2)]
  const lone = { ...second, endpoints: second.endpoints.slice(0, 2) }
  const snapshot = snapshotOf({ networks, containers: [first, lone] })
  const [only] = planVirtualServices(snapshot, allocation('shop', 'web', { ports: [port(80, 80)] }))
  t.strictSame(
    only?.destinations.map(({ id }) => id),
    [first.id],
  )
})

t.test('planVirtualServices() makes ranges of neighbours, of one protocol and address', async t => {
  const at = (published: number, hostAddress: string): AllocatedPort =>
    port(published, published, { hostAddress })
  const rows: readonly (readonly [readonly AllocatedPort[], readonly string[]])[] = [
    [[port(82, 1), port(80, 2), port(81, 3)], ['tcp 80-82']],
    [
      [port(80, 80), port(82, 82)],
      ['tcp 80-80', 'tcp 82-82'],
    ],
    [
      [port(80, 80), port(81, 81, { protocol: 'udp' })],
      ['tcp 80-80', 'udp 81-81'],
    ],
    [[at(80, '127.0.0.1'), at(81, '127.0.0.1')], ['tcp 80-81 127.0.0.1']],
    [
      [at(80, '127.0.0.1'), at(81, '::1')],
      ['tcp 80-80 127.0.0.1', 'tcp 81-81 ::1'],
    ],
    [
      [port(80, 80), at(81, '::1')],
      ['tcp 80-80', 'tcp 81-81 ::1'],
    ],
  ]
  for (const [ports, wanted] of rows) t.strictSame(rangesOf(ports), wanted, wanted.join())
})

t.test('planTargets() merges neighbours that lead to neighbours, or all to one', async t => {
  const rows: readonly (readonly [readonly AllocatedPort[], readonly string[]])[] = [
    [[port(8080, 80)], ['tcp 8080-8080 80 offset']],
    [[port(91, 81), port(90, 80), port(92, 82)], ['tcp 90-92 80 offset']],
    [[port(90, 80), port(91, 80), port(92, 80)], ['tcp 90-92 80 single']],
    [
      [port(90, 80), port(91, 80), port(92, 81)],
      ['tcp 90-91 80 single', 'tcp 92-92 81 offset'],
    ],
    [
      [port(90, 80), port(91, 81), port(92, 81)],
      ['tcp 90-91 80 offset', 'tcp 92-92 81 offset'],
    ],
    [
      [port(90, 81), port(91, 80)],
      ['tcp 90-90 81 offset', 'tcp 91-91 80 offset'],
    ],
    [
      [port(90, 80), port(92, 82)],
      ['tcp 90-90 80 offset', 'tcp 92-92 82 offset'],
    ],
    [
      [port(90, 80), port(91, 81, { protocol: 'udp' })],
      ['tcp 90-90 80 offset', 'udp 91-91 81 offset'],
    ],
    [
      [port(90, 80, { hostAddress: '127.0.0.1' }), port(90, 80, { hostAddress: '::1' })],
      ['tcp 90-90 80 offset'],
    ],
    [
      [port(90, 80, { mode: 'host', replica: 1 }), port(91, 80, { mode: 'host', replica: 2 })],
      ['tcp 91-91 80 offset'],
    ],
  ]
  for (const [ports, wanted] of rows) t.strictSame(targetsOf(ports), wanted, wanted.join())
})

t.test('planTargets() leads an older replica’s ports to where it listens itself', async t => {
  const own = [port(8080, 3000)]
  t.strictSame(targetsOf([port(8080, 80)], own), ['tcp 8080-8080 3000 offset'])
  t.strictSame(
    targetsOf([port(8081, 80)], own),
    ['tcp 8081-8081 80 offset'],
    'another’s is no matter',
  )
})

t.test(
  'planTargets() leads every published port where it was declared to, and no other',
  async t => {
    const one = fc.record({
      published: fc.integer({ min: 1, max: 40 }),
      target: fc.integer({ min: 1, max: 12 }),
      protocol: fc.constantFrom<PortSpec['protocol'][]>('tcp', 'udp'),
    })
    const unique = { selector: ({ published, protocol }: PortSpec) => `${published}/${protocol}` }
    const ports = fc.uniqueArray(
      one.map(({ published, target, protocol }) => port(published, target, { protocol })),
      { ...unique, maxLength: 30 },
    )
    fc.assert(
      fc.property(ports, declared => {
        const targets = planTargets(allocation('shop', 'web', { ports: declared }), replica(1))
        const written = targets.flatMap(({ protocol, first, last, target, kind }) =>
          Array.from({ length: last - first + 1 }, (_, i) => {
            const to = kind === 'single' ? target : target + i
            return `${first + i}/${protocol} ${to}`
          }),
        )
        const wanted = declared.map(one => `${one.published}/${one.protocol} ${one.target}`)
        t.strictSame(written.sort(), wanted.sort())
      }),
      { numRuns: 300 },
    )
  },
)

t.test('planVips() has the services of one network, whoever is behind them there', async t => {
  const [first, second] = [replica(1), replica(2)]
  const gone = { ...second, endpoints: second.endpoints.slice(1) }
  const vips = { [front.id]: { ipv4: '10.0.1.5/24', ipv6: 'fd00:1::5/64' } }
  const snapshot = snapshotOf({
    networks,
    containers: [first, gone],
    projects: [project('shop', [service('web', balanced)])],
    allocations: [
      allocation('shop', 'web', { vips }),
      allocation('shop', 'api', { vips: { [front.id]: { ipv4: '10.0.1.4/24' } } }),
      allocation('shop', 'db', { vips: { [back.id]: { ipv4: '10.0.2.4/24' } } }),
    ],
  })
  t.strictSame(planVips(snapshot, front.id), [
    {
      key: `shop/api@${front.id}`,
      name: 'shop/api',
      vip4: '10.0.1.4',
      scheduler: 'rr',
      affinity: { kind: 'none' },
      destinations: [],
    },
    {
      key: `shop/web@${front.id}`,
      name: 'shop/web',
      vip4: '10.0.1.5',
      vip6: 'fd00:1::5',
      scheduler: 'wrr',
      affinity: { kind: 'client-ip', timeoutSeconds: 60 },
      destinations: [{ id: first.id, ipv4: '10.0.1.11', weight: 1 }],
    },
  ])
})

t.test('planVips() leaves out who does not serve', async t => {
  const replicas = [1, 2, 3].map(number => replica(number))
  const snapshot = snapshotOf({
    networks,
    containers: replicas,
    statuses: replicas.slice(1, 2).map(one => running(one, { state: 'stopping' })),
    allocations: [allocation('shop', 'web', { vips: { [front.id]: { ipv4: '10.0.1.5/24' } } })],
  })
  const [only] = planVips(snapshot, front.id)
  t.strictSame(
    only?.destinations.map(({ ipv4 }) => ipv4),
    ['10.0.1.11', '10.0.1.13'],
  )
})

const mac = '02:42:0a:00:09:01'
const place: IngressPlace = planIngressPlace(ingress, { name: 'br0', mac }, 'ipvs0')

t.test('planIngressPlace() has two points of different MACs on the ingress network', async t => {
  t.strictSame(place, {
    bridge: 'br0',
    ipvsLink: 'ipvs0',
    subnet4: '10.0.9.0/24',
    host: { id: 1, mac, ipv4: '10.0.9.1' },
    ipvs: { id: 2, mac: '06:42:0a:00:09:01', ipv4: '10.0.9.2' },
  })
})

t.test('planSandboxIngress() says how a replica is met and where replies leave from', async t => {
  const web = replica(1)
  const snapshot = snapshotOf({
    networks,
    containers: [web],
    allocations: [allocation('shop', 'web', { ports: [port(8080, 80)] })],
  })
  t.strictSame(planSandboxIngress(snapshot, web, place), {
    interfaceName: 'ingress0',
    points: [place.host, place.ipvs],
    ingress: { ipv4: '10.0.9.11', subnet4: '10.0.9.0/24' },
    ownSubnets: [
      { subnet: '10.0.2.0/24', address: '10.0.2.11' },
      { subnet: 'fd00:2::/64', address: 'fd00:2::11' },
      { subnet: '10.0.1.0/24', address: '10.0.1.11' },
    ],
    defaultAddress4: '10.0.2.11',
    targets: [{ protocol: 'tcp', first: 8080, last: 8080, target: 80, kind: 'offset' }],
  })
})

t.test('planSandboxIngress() is nothing for those that nobody reaches from outside', async t => {
  const web = replica(1)
  const allocations = [allocation('shop', 'web', { ports: [port(8080, 80)] })]
  const snapshot = snapshotOf({ networks, containers: [web], allocations })
  const inner = { ...web, endpoints: web.endpoints.slice(0, 2) }
  t.equal(planSandboxIngress(snapshot, inner, place), undefined, 'not on the ingress network')
  t.equal(planSandboxIngress(snapshot, web, undefined), undefined, 'nothing is published yet')
  const lone = snapshotOf({ networks, containers: [web] })
  t.equal(planSandboxIngress(lone, web, place), undefined, 'its service has nothing')
})
