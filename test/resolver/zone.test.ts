import fc from 'fast-check'
import t from 'tap'
import {
  type EndpointNames,
  type NetworkNames,
  type NetworkZone,
  type ServiceNames,
  compileZone,
  listSkipped,
  updateZone,
} from '../../resolver/zone.js'
import { compileView } from '../../resolver/view.js'
import { NETWORKS } from '../fixtures/addresses.js'
import { ask, summarize } from '../fixtures/world.js'

const tell = (zone: NetworkZone, question: string, group?: string) =>
  summarize(
    ask(
      compileView({
        networks: [zone],
        hasExternalAccess: true,
        ...(group === undefined ? {} : { group }),
      }),
      question,
    ),
  )

t.test('compileZone() skips names that cannot be encoded and reports them', async t => {
  const alias = 'x'.repeat(70)
  const zone = compileZone({
    name: 'net',
    subnets: ['10.0.5.0/24', 'nonsense'],
    gateways: ['10.0.5.1%eth0'],
    endpoints: [
      { id: 'one', name: 'one', aliases: [alias], addresses: ['10.0.5.2', '10.0.5.300'] },
      { id: 'abcdefabcdefabcdef', name: alias, addresses: ['10.0.5.3'] },
    ],
  })
  t.equal(tell(zone, 'one A'), '10.0.5.2')
  t.equal(tell(zone, '3.5.0.10.in-addr.arpa PTR'), 'abcdefabcdef.net.', 'PTR says the short id')
  const report = listSkipped(zone).join('\n')
  for (const part of [alias, '10.0.5.300', 'nonsense', '10.0.5.1%eth0']) t.match(report, part)
  t.equal(listSkipped(zone).length, 5)
})

t.test('compileZone() takes the PTR target that an endpoint asks for', async t => {
  const endpoints = [{ id: 'a', name: 'a', pointer: 'host.example.', addresses: ['10.0.5.2'] }]
  const zone = compileZone({ name: 'net', subnets: [], gateways: [], endpoints })
  t.equal(tell(zone, '2.5.0.10.in-addr.arpa PTR'), 'host.example.')
})

t.test('compileZone() denies reverse names of subnets that end inside a label', async t => {
  const zone = compileZone({ name: 'net', subnets: ['10.8.16.0/20'], gateways: [], endpoints: [] })
  t.equal(tell(zone, '9.17.8.10.in-addr.arpa PTR'), 'NXDOMAIN 17.8.10.in-addr.arpa.')
  t.equal(tell(zone, '17.8.10.in-addr.arpa PTR'), 'ND 17.8.10.in-addr.arpa.')
  t.equal(tell(zone, '8.10.in-addr.arpa PTR'), 'FWD')
  t.equal(tell(zone, '9.32.8.10.in-addr.arpa PTR'), 'FWD')
})

t.test('compileZone() lets exact names and empty ones beat a wildcard', async t => {
  const endpoints = [
    { id: 'w', name: 'w', aliases: ['*.wild'], addresses: ['10.0.5.2'] },
    { id: 'x', name: 'x.wild', addresses: ['10.0.5.3'] },
    { id: 'z', name: 'deep.y.wild', addresses: ['10.0.5.4'] },
  ]
  const zone = compileZone({ name: 'net', subnets: [], gateways: [], endpoints })
  t.equal(tell(zone, 'x.wild A'), '10.0.5.3')
  t.equal(tell(zone, 'a.x.wild A'), 'FWD', 'x.wild is the closest ancestor, and has no wildcard')
  t.equal(tell(zone, 'y.wild A'), 'ND wild.', 'an empty non-terminal')
  t.equal(tell(zone, 'q.wild A'), '10.0.5.2')
})

t.test('updateZone() renames: the old name is gone and the PTR follows', async t => {
  const zone = updateZone(compileZone(NETWORKS.net1), {
    endpoints: [{ id: 'bbbbbbbbbbbb', name: 'fresh', addresses: ['172.30.1.3'] }],
  })
  t.equal(tell(zone, 'c2 A'), '172.30.1.6', 'the hostname of h1 is now free')
  t.equal(tell(zone, 'shared A'), '172.30.1.2')
  t.equal(tell(zone, 'fresh A'), '172.30.1.3')
  t.equal(tell(zone, '3.1.30.172.in-addr.arpa PTR'), 'fresh.net1.')
})

t.test('updateZone() follows the health of tasks into the services that have them', async t => {
  const gate: ServiceNames = {
    name: 'gate',
    vips: ['10.0.1.12'],
    tasks: [{ endpointId: 'gate1' }],
    ports: [],
  }
  const waiting = updateZone(compileZone(NETWORKS.ov1), { services: [gate] })
  t.equal(tell(waiting, 'tasks.gate A'), 'ND tasks.gate.')
  const endpoints = [{ id: 'gate1', name: 'gate.1.g', addresses: ['10.0.1.13'] }]
  const healthy = updateZone(waiting, { endpoints })
  t.equal(tell(healthy, 'tasks.gate A'), '10.0.1.13')
  t.equal(tell(healthy, 'gate.1.g A'), '10.0.1.13')
  const gone = updateZone(healthy, { removedEndpoints: ['gate1'] })
  t.equal(tell(gone, 'tasks.gate A'), 'ND tasks.gate.')
  t.equal(tell(gone, 'gate A'), '10.0.1.12')
})

t.test('updateZone() removes a service with all its names', async t => {
  const zone = updateZone(compileZone(NETWORKS.ov1), { removedServices: [{ name: 'web' }] })
  for (const name of ['web', 'tasks.web', 'webal', 'tasks.webal', '_http._tcp.web']) {
    t.equal(tell(zone, `${name} A`), 'FWD', name)
  }
  t.equal(tell(zone, '2.1.0.10.in-addr.arpa PTR'), 'NXDOMAIN 1.0.10.in-addr.arpa.')
})

t.test('updateZone() leaves the zone it came from as it was', async t => {
  const zone = compileZone(NETWORKS.net1)
  updateZone(zone, { removedEndpoints: ['bbbbbbbbbbbb'] })
  t.equal(tell(zone, 'c2 A'), '172.30.1.3')
})

const label = fc.constantFrom('a', 'b', 'c', 'web', 'x.y', 'y', '*.y', 'z.y', 'tasks.a', 'A')
const group = fc.constantFrom('blue', 'green', undefined)
const address = fc.constantFrom('10.0.5.2', '10.0.5.3', '10.0.5.4', 'fd00::2', 'fd00::3')
const endpoint = fc
  .record({
    id: fc.constantFrom('1', '2', '3', '4', '5', '6'),
    name: label,
    aliases: fc.array(label, { maxLength: 2 }),
    fallbacks: fc.array(label, { maxLength: 2 }),
    addresses: fc.uniqueArray(address, { maxLength: 2 }),
    group,
  })
  .map(({ group: own, ...rest }): EndpointNames =>
    own === undefined ? rest : { ...rest, group: own },
  )
const service = fc.record({
  name: fc.constantFrom('a', 'web', 'svc'),
  aliases: fc.array(label, { maxLength: 2 }),
  vips: fc.uniqueArray(fc.constantFrom('10.0.5.20', '10.0.5.21'), { maxLength: 1 }),
  tasks: fc.array(
    fc.constantFrom('1', '2', '3').map(endpointId => ({ endpointId })),
    { maxLength: 3 },
  ),
  ports: fc.array(
    fc.record({
      name: fc.constantFrom('http', 'api'),
      port: fc.constantFrom(80, 9000),
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    }),
    { maxLength: 2 },
  ),
})
const network = fc.record({
  endpoints: fc.uniqueArray(endpoint, { maxLength: 6, selector: each => each.id }),
  services: fc.uniqueArray(service, { maxLength: 3, selector: each => each.name }),
})

const names = ['a', 'b', 'c', 'web', 'svc', 'y', 'x.y', 'z.y', 'q.y', 'a.x.y', '*.y', 'tasks.a']
const ports = ['_http._tcp.a', '_80._tcp.web', '_api._udp.svc', '_tcp.web', '_x._tcp.a']
const reverse = ['2', '3', '4', '20', '21', '9'].map(host => `${host}.5.0.10.in-addr.arpa PTR`)
const questions = [
  ...[...names, ...ports, ...names.map(name => `${name}.net`), 'tasks.web'].flatMap(name => [
    `${name} A`,
    `${name} AAAA`,
    `${name} SRV`,
  ]),
  ...reverse,
]

function tellAll(zone: NetworkZone): string[] {
  return questions.flatMap(question =>
    [undefined, 'blue'].map(own => `${question}: ${tell(zone, question, own)}`),
  )
}

t.test('updateZone() by the difference equals compileZone()', async t => {
  const fixed = { name: 'net', subnets: ['10.0.5.0/24'], gateways: ['10.0.5.1'] }
  fc.assert(
    fc.property(network, network, (from, to) => {
      const before: NetworkNames = { ...fixed, ...from }
      const after: NetworkNames = { ...fixed, ...to }
      const updated = updateZone(compileZone(before), {
        endpoints: to.endpoints,
        removedEndpoints: from.endpoints
          .filter(old => !to.endpoints.some(each => each.id === old.id))
          .map(old => old.id),
        services: to.services,
        removedServices: from.services.filter(
          old => !to.services.some(each => each.name === old.name),
        ),
      })
      const compiled = compileZone(after)
      t.strictSame(tellAll(updated), tellAll(compiled))
      return (
        updated.owners.size === compiled.owners.size &&
        updated.nonTerminals.size === compiled.nonTerminals.size &&
        updated.pointers.size === compiled.pointers.size &&
        updated.servicesOf.size === compiled.servicesOf.size &&
        updated.wildcards === compiled.wildcards
      )
    }),
    { numRuns: 150 },
  )
})
