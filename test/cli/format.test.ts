import t from 'tap'
import type { ContainerView, NetworkView } from '../../src/api/contract.js'
import { formatReply } from '../../src/cli/dig.js'
import { formatNetworks } from '../../src/cli/network.js'
import { formatContainers } from '../../src/cli/ps.js'

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
