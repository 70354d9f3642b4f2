import t from 'tap'
import type {
  ContainerView,
  MeshPortView,
  MeshReplicaView,
  NetworkView,
  ServiceView,
} from '../../src/api/contract.js'
import { formatReply } from '../../src/cli/dig.js'
import { formatBytes, formatMesh } from '../../src/cli/mesh.js'
import { formatNetworks } from '../../src/cli/network.js'
import { formatContainers } from '../../src/cli/ps.js'
import { formatPort, formatServices } from '../../src/cli/services.js'

const container: ContainerView = {
  id: 'a'.repeat(64),
  name: 'shop-web-1',
  service: 'web',
  state: 'running',
  health: 'none',
  restartCount: 0,
  createdAt: '2026-01-01T00:00:00.000Z',
  command: ['sleep', '1'],
  networkMode: 'networks',
  endpoints: [
    {
      network: 'shop_front',
      interfaceName: 'eth0',
      ipv4: '10.0.1.2/24',
      ipv6: 'fd00:1::2/64',
      mac: '02:42:0a:00:01:02',
      aliases: [],
    },
  ],
}

function row(more: Partial<ContainerView>): string {
  return formatContainers([{ ...container, ...more }]).split('\n')[1] ?? ''
}

t.test('formatContainers() shows state, health and why it is not running', async t => {
  const rows = [
    [{}, /running {2}shop_front 10\.0\.1\.2 fd00:1::2$/],
    [{ health: 'healthy' }, /running \(healthy\)/],
    [{ isReady: true }, /running {2}shop/],
    [{ isReady: false }, /running \(not ready\)/],
    [{ isDraining: true }, /running \(draining\)/],
    [
      { health: 'healthy', isReady: false, isDraining: true },
      /running \(healthy, not ready, draining\)/,
    ],
    [{ state: 'stopping', isReady: false }, /stopping {2}shop/],
    [{ state: 'exited', exitCode: 3 }, /exited \(3\)/],
    [{ state: 'exited', exitCode: 3, failure: 'no such file' }, /exited \(no such file\)/],
    [{ endpoints: [], networkMode: 'host' }, / host$/],
    [{ endpoints: [] }, / none$/],
  ] as const
  for (const [more, wanted] of rows) t.match(row(more), wanted)
})

t.test('formatContainers() has a dash for a container of no service', async t => {
  const { service: _service, ...lone } = container
  t.match(formatContainers([lone]).split('\n')[1] ?? '', /^shop-web-1 {2}- /)
})

t.test('formatNetworks() shows subnets, members and flags', async t => {
  const network: NetworkView = {
    id: 'b'.repeat(64),
    name: 'shop_back',
    driver: 'bridge',
    isInternal: true,
    isBuiltin: false,
    hasNames: true,
    subnets: [{ subnet: '10.0.2.0/24' }, { subnet: 'fd00:2::/64' }],
    options: {},
    labels: {},
    createdAt: '2026-01-01T00:00:00.000Z',
    containers: [{ name: 'db', state: 'running', aliases: [] }],
  }
  const [, text] = formatNetworks([network]).split('\n')
  t.match(text ?? '', /^shop_back {2}bridge {2}10\.0\.2\.0\/24 fd00:2::\/64 {2}1 +internal, names$/)
})

const service: ServiceView = {
  project: 'shop',
  name: 'web',
  endpointMode: 'vip',
  vips: [
    { network: 'shop_front', ipv4: '10.0.1.3', ipv6: 'fd00:1::3' },
    { network: 'shop_back', ipv4: '10.0.2.3' },
  ],
  ports: [{ published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' }],
  replicas: { wanted: 3, running: 2, ready: 1 },
  scheduler: 'rr',
  affinity: 'none',
  drainSeconds: 10,
}

t.test('formatServices() shows addresses, ports and ready of wanted', async t => {
  const rows = [
    [
      {},
      /^shop\/web {2}vip {3,}shop_front 10\.0\.1\.3 fd00:1::3, shop_back 10\.0\.2\.3 {2}8080->80\/tcp {2}1\/3 +rr$/,
    ],
    [{ endpointMode: 'dnsrr', vips: [], ports: [] }, /dnsrr {2}- {2,}- {2,}1\/3 {2,}rr$/],
    [{ scheduler: 'lc', affinity: 'client-ip' }, / lc, client-ip$/],
  ] as const
  for (const [more, wanted] of rows) {
    t.match(formatServices([{ ...service, ...more }]).split('\n')[1], wanted)
  }
})

t.test('formatPort() has brackets around IPv6 and names mode host', async t => {
  const port = { published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' } as const
  t.equal(formatPort(port), '8080->80/tcp')
  t.equal(formatPort({ ...port, hostAddress: '127.0.0.1' }), '127.0.0.1:8080->80/tcp')
  t.equal(formatPort({ ...port, hostAddress: '::1' }), '[::1]:8080->80/tcp')
  t.equal(formatPort({ ...port, protocol: 'udp', mode: 'host' }), '8080->80/udp (host)')
})

t.test('formatMesh() shows each replica, and what they share once', async t => {
  const replica: MeshReplicaView = {
    name: 'shop-web-1',
    weight: 1,
    state: 'ready',
    isServing: true,
    activeConnections: 2,
    inBytes: '1500',
    outBytes: '0',
  }
  const { inBytes: _in, outBytes: _out, ...uncounted } = replica
  const port: MeshPortView = {
    ...{ published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' },
    ...{ project: 'shop', service: 'web', vips: ['10.0.1.3'], scheduler: 'rr' },
    replicas: [
      replica,
      {
        ...uncounted,
        name: 'shop-web-2',
        state: 'unready',
        reason: 'nothing listens on port 80',
      },
    ],
  }
  const rows = (ports: readonly MeshPortView[]): string[] =>
    formatMesh(ports).replaceAll(/ {2,}/g, '|').split('\n').slice(1)
  t.strictSame(rows([port]), [
    '8080->80/tcp|shop/web|10.0.1.3|rr|shop-web-1|1|ready|2|1.5 kB|0 B',
    '|shop-web-2|1|unready: nothing listens on port 80|2|-|-',
  ])
  t.strictSame(rows([{ ...port, vips: [], replicas: [] }]), [
    '8080->80/tcp|shop/web|-|rr|-|-|no replica|-|-|-',
  ])
})

t.test('formatBytes() counts in thousands, and has a dash where nobody counts', async t => {
  const rows = [
    [undefined, '-'],
    ['0', '0 B'],
    ['999', '999 B'],
    ['1000', '1.0 kB'],
    ['2500000', '2.5 MB'],
    ['9999000000000000', '9999.0 TB'],
  ] as const
  for (const [digits, wanted] of rows) t.equal(formatBytes(digits), wanted)
})

t.test('formatReply() prints the sections that have records', async t => {
  const text = formatReply({
    rcode: 'NOERROR',
    flags: ['qr', 'rd', 'ra'],
    question: { name: 'web.', type: 'A' },
    answers: [{ name: 'web.', ttl: 0, class: 'IN', type: 'A', data: '10.0.1.2' }],
    authorities: [],
    additionals: [],
    milliseconds: 0.25,
    bytes: 41,
  })
  t.equal(
    text,
    [
      ';; status: NOERROR, flags: qr rd ra',
      ';; question: web. A',
      ';; answer:',
      'web.\t0\tIN\tA\t10.0.1.2',
      ';; 41 bytes in 0.3 ms',
    ].join('\n'),
  )
})
