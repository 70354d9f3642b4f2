/** Replicas, ports, dependencies, attachments and networks, from every form of a Compose file. */

import t from 'tap'
import type { Attachment, PortSpec } from '../../../src/catalog/service.js'
import type { NetworkSpec } from '../../../src/catalog/network.js'
import { frontWith, parse, serviceOf, webWith } from './parse.js'

t.test('resolveServices() counts replicas', async t => {
  const table: readonly [string, number][] = [
    ['scale: 0', 0],
    ['scale: "4"', 4],
    ['deploy: { replicas: 3 }', 3],
    ['scale: 2\ndeploy: { replicas: 2 }', 2],
    ['deploy: { mode: global }', 1],
  ]
  for (const [lines, replicas] of table) {
    t.equal(serviceOf(webWith(lines)).replicas, replicas, lines)
  }
  t.equal(serviceOf(webWith('deploy: { endpoint_mode: dnsrr }')).endpointMode, 'dnsrr')
  t.equal(serviceOf(webWith('container_name: one')).containerName, 'one')
})

const published = (target: number, port: number | undefined, more: Partial<PortSpec> = {}) => ({
  target,
  ...(port === undefined ? {} : { published: port }),
  isPublished: true,
  protocol: 'tcp',
  mode: 'ingress',
  ...more,
})

t.test('resolvePorts() understands', async t => {
  const table: readonly [string, readonly object[]][] = [
    ['ports: [3000]', [published(3000, undefined)]],
    ["ports: ['8080:80']", [published(80, 8080)]],
    ["ports: ['0:80']", [published(80, undefined)]],
    ["ports: ['53:53/udp', '53:53']", [published(53, 53, { protocol: 'udp' }), published(53, 53)]],
    ["ports: ['3000-3001']", [published(3000, undefined), published(3001, undefined)]],
    ["ports: ['90-91:80-81']", [published(80, 90), published(81, 91)]],
    ["ports: ['127.0.0.1:8001:80']", [published(80, 8001, { hostAddress: '127.0.0.1' })]],
    ["ports: ['127.0.0.1::80']", [published(80, undefined, { hostAddress: '127.0.0.1' })]],
    [
      "ports: ['[::1]:8001:80/sctp']",
      [published(80, 8001, { hostAddress: '::1', protocol: 'sctp' })],
    ],
    ["ports: ['::1:8001:80']", [published(80, 8001, { hostAddress: '::1' })]],
    ["ports: ['80:80', '80:80']", [published(80, 80)]],
    ['ports: [{ target: 80 }]', [published(80, undefined)]],
    [
      "ports: [{ name: http, target: 80, published: '8080', host_ip: 127.0.0.1, protocol: TCP, mode: host }]",
      [published(80, 8080, { name: 'http', hostAddress: '127.0.0.1', mode: 'host' })],
    ],
    [
      "expose: [3000, '53/udp', '81-82']",
      [
        published(3000, undefined, { isPublished: false }),
        published(53, undefined, { isPublished: false, protocol: 'udp' }),
        published(81, undefined, { isPublished: false }),
        published(82, undefined, { isPublished: false }),
      ],
    ],
  ]
  for (const [lines, ports] of table) t.strictSame(serviceOf(webWith(lines)).ports, ports, lines)
})

t.test('resolvePorts() publishes one port at the first of a range, and says so', async t => {
  const file = webWith("ports: ['8000-8009:80']")
  t.strictSame(serviceOf(file).ports, [published(80, 8000)])
  t.strictSame(parse(file).warnings, [
    'shop.yaml:4: services.web.ports[0]: is published at 8000, the first of the range 8000-8009',
  ])
})

t.test('resolveDependencies() understands', async t => {
  const rest = '  db: { command: store, healthcheck: { test: check } }\n'
  const dependsOn = (lines: string) => serviceOf(webWith(lines, rest)).dependsOn
  const started = { service: 'db', condition: 'service_started', isRequired: true }
  t.strictSame(dependsOn('depends_on: [db]'), [started])
  t.strictSame(dependsOn('links: [db]'), [started], 'a link implies it')
  t.strictSame(dependsOn('network_mode: service:db'), [started], 'so does a shared stack')
  t.strictSame(
    dependsOn(
      'depends_on: { db: { condition: service_healthy, required: false, restart: true } }\nlinks: [db]',
    ),
    [{ service: 'db', condition: 'service_healthy', isRequired: false }],
  )
})

const attachment = (network: string, more: Partial<Attachment> = {}): Attachment => ({
  network,
  aliases: [],
  gatewayPriority: 0,
  ...more,
})

t.test('resolveStack() understands', async t => {
  const networks = `networks:
  front: { ipam: { config: [{ subnet: 10.0.1.0/24 }, { subnet: 'fd00:1::/64' }] } }
  back: { name: vault }
  theirs: { external: true, name: corp }
`
  const table: readonly [string, readonly Attachment[]][] = [
    ['networks: []', [attachment('demo_default')]],
    ['networks: [front, back]', [attachment('vault'), attachment('demo_front')]],
    [
      'networks: { front: , default: { priority: 5 } }',
      [attachment('demo_default'), attachment('demo_front')],
    ],
    ['networks: [theirs]', [attachment('corp')]],
    ['network_mode: bridge', [attachment('bridge')]],
    [
      "networks: { front: { aliases: [www, '*.web.test'], ipv4_address: 10.0.1.9, ipv6_address: 'fd00:1:0::9', mac_address: '02-42-0A-00-01-09', interface_name: lan0, gw_priority: -1 } }",
      [
        attachment('demo_front', {
          aliases: ['www', '*.web.test'],
          ipv4: '10.0.1.9',
          ipv6: 'fd00:1::9',
          mac: '02:42:0a:00:01:09',
          interfaceName: 'lan0',
          gatewayPriority: -1,
        }),
      ],
    ],
    [
      "networks: [front]\nmac_address: '02:42:0a:00:01:09'",
      [attachment('demo_front', { mac: '02:42:0a:00:01:09' })],
    ],
  ]
  for (const [lines, attachments] of table) {
    t.strictSame(serviceOf(webWith(lines, networks)).attachments, attachments, lines)
  }
})

t.test("resolveStack() takes Docker's special networks for modes", async t => {
  const table: readonly [string, string][] = [
    ['external: true\nname: host', 'host'],
    ['driver: none', 'none'],
  ]
  for (const [lines, kind] of table) {
    const { project } = parse(frontWith(lines))
    t.strictSame(project.services[0]?.container.networkMode, { kind }, lines)
    t.strictSame(project.networks, [], 'and makes no network')
  }
})

t.test('resolveNetworks() understands', async t => {
  const plain: NetworkSpec = {
    name: 'demo_front',
    driver: 'bridge',
    options: {},
    subnets: [],
    hasIpv4: true,
    hasIpv6: false,
    isInternal: false,
    isAttachable: false,
    labels: {},
  }
  const table: readonly [string, boolean, NetworkSpec][] = [
    ['', false, plain],
    [
      'driver: bridge\ndriver_opts: { com.docker.network.driver.mtu: 1400 }',
      false,
      { ...plain, options: { 'com.docker.network.driver.mtu': '1400' } },
    ],
    ['enable_ipv6: true', false, { ...plain, hasIpv6: true }],
    ['enable_ipv4: false\nenable_ipv6: "true"', false, { ...plain, hasIpv4: false, hasIpv6: true }],
    [
      'internal: true\nattachable: true\nlabels: [a=b]',
      false,
      { ...plain, isInternal: true, isAttachable: true, labels: { a: 'b' } },
    ],
    ['name: corp', false, { ...plain, name: 'corp' }],
    ['external: true', true, { ...plain, name: 'front' }],
    ['external: { name: corp }', true, { ...plain, name: 'corp' }],
    [
      'ipam:\n  driver: default\n  config:\n    - { subnet: 10.0.1.0/24, gateway: 10.0.1.254, ip_range: 10.0.1.128/25, aux_addresses: { printer: 10.0.1.9 } }\n    - { subnet: "FD00:1::/64" }',
      false,
      {
        ...plain,
        hasIpv6: true,
        subnets: [
          {
            subnet: '10.0.1.0/24',
            gateway: '10.0.1.254',
            ipRange: '10.0.1.128/25',
            auxAddresses: { printer: '10.0.1.9' },
          },
          { subnet: 'fd00:1::/64', auxAddresses: {} },
        ],
      },
    ],
  ]
  for (const [lines, isExternal, spec] of table) {
    t.strictSame(
      parse(frontWith(lines)).project.networks,
      [{ key: 'front', isExternal, spec }],
      lines,
    )
  }
})

t.test('parseProject() takes the words for true and false that Compose takes', async t => {
  for (const word of ['true', 'yes', '"on"', '1', '${INTERNAL}']) {
    const environment = { INTERNAL: 'True' }
    const [network] = parse(frontWith(`internal: ${word}`), { environment }).project.networks
    t.equal(network?.spec.isInternal, true, word)
  }
  t.equal(parse(frontWith('internal: no')).project.networks[0]?.spec.isInternal, false)
})

t.test('parseProject() makes only networks that a service is on', async t => {
  const file =
    'services: { web: { command: serve, networks: [b] } }\nnetworks: { a: , b: , default: }'
  t.strictSame(
    parse(file).project.networks.map(network => network.key),
    ['b'],
  )
})
