import t from 'tap'
import { parsePrefix } from '../../src/base/ip.js'
import { IpamError, defaultPools, resolveSubnets } from '../../src/ipam/index.js'
import type { DeclaredSubnet, SubnetsRequest, Taken } from '../../src/ipam/index.js'

const pools = defaultPools('instance')
const vpn: Taken = {
  kind: 'route',
  prefix: parsePrefix('10.8.0.0/16'),
  isOnLink: false,
  via: '192.0.2.1',
}
const lan: Taken = {
  kind: 'route',
  prefix: parsePrefix('192.0.2.0/24'),
  isOnLink: true,
  via: 'eth0',
}
const shop: Taken = { kind: 'network', prefix: parsePrefix('10.0.1.0/24'), name: 'shop_default' }

function requestOf(...subnets: readonly DeclaredSubnet[]): SubnetsRequest {
  return { name: 'frontend', subnets, hasIpv4: true, hasIpv6: false }
}

function resolve(request: SubnetsRequest, taken: readonly Taken[] = []) {
  return resolveSubnets(request, { pools, taken })
}

t.test('resolveSubnets() chooses one subnet a family where none is declared', async t => {
  const [ipv4, ipv6, ...rest] = resolve({ name: 'n', subnets: [], hasIpv4: true, hasIpv6: true })
  t.strictSame(ipv4, { subnet: '172.17.0.0/16', gateway: '172.17.0.1', auxAddresses: {} })
  t.match(ipv6?.subnet, /^fd[0-9a-f:]+::\/64$/)
  t.equal(ipv6?.gateway, ipv6?.subnet.replace('::/64', '::1'))
  t.strictSame(rest, [])
})

t.test('resolveSubnets() keeps what is declared, in canonical text', async t => {
  const declared = {
    subnet: '10.0.2.0/24',
    gateway: '10.0.2.254',
    ipRange: '10.0.2.128/25',
    auxAddresses: { router: '10.0.2.9' },
  }
  t.strictSame(resolve(requestOf(declared)), [declared])
  const ipv6 = {
    name: 'n',
    subnets: [{ subnet: '2001:DB8:0::/64' }],
    hasIpv4: false,
    hasIpv6: true,
  }
  t.strictSame(resolve(ipv6), [
    { subnet: '2001:db8::/64', gateway: '2001:db8::1', auxAddresses: {} },
  ])
})

t.test('resolveSubnets() chooses the gateway as Docker', async t => {
  const cases: readonly (readonly [string, DeclaredSubnet, string])[] = [
    ['first of the subnet', { subnet: '10.0.2.0/24' }, '10.0.2.1'],
    ['first of the range', { subnet: '10.0.2.0/24', ipRange: '10.0.2.128/25' }, '10.0.2.128'],
    ['range at the start', { subnet: '10.0.2.0/24', ipRange: '10.0.2.0/25' }, '10.0.2.1'],
    ['not auxiliary', { subnet: '10.0.2.0/24', auxAddresses: { a: '10.0.2.1' } }, '10.0.2.2'],
    ['point to point', { subnet: '10.0.2.0/31' }, '10.0.2.0'],
    ['single', { subnet: '10.0.2.7/32' }, '10.0.2.7'],
  ]
  for (const [name, declared, gateway] of cases) {
    t.equal(resolve(requestOf(declared))[0]?.gateway, gateway, name)
  }
})

t.test('resolveSubnets() chooses a subnet of the length declared', async t => {
  t.equal(resolve(requestOf({ subnet: '0.0.0.0/24' }))[0]?.subnet, '172.17.0.0/24')
})

t.test('resolveSubnets() leaves out subnets of a family that the network has not', async t => {
  const request = requestOf({ subnet: 'fd00:1::/64' }, { subnet: '10.0.2.0/24' })
  t.strictSame(
    resolve(request).map(one => one.subnet),
    ['10.0.2.0/24'],
  )
})

t.test('resolveSubnets() refuses what cannot be, in one sentence', async t => {
  const good = { subnet: '10.0.2.0/24' }
  const cases: readonly (readonly [string, RegExp, ...DeclaredSubnet[]])[] = [
    ['IPAM_BAD_SUBNET', /subnet "10\.0\.2\.0" is not ADDRESS\/LENGTH/, { subnet: '10.0.2.0' }],
    ['IPAM_BAD_SUBNET', /host bits set; write 10\.0\.2\.0\/24/, { subnet: '10.0.2.5/24' }],
    ['IPAM_BAD_SUBNET', /the loopback network/, { subnet: '127.0.0.0/24' }],
    ['IPAM_BAD_SUBNET', /the loopback network/, { subnet: '64.0.0.0/2' }],
    ['IPAM_BAD_SUBNET', /multicast/, { subnet: '239.0.0.0/24' }],
    ['IPAM_BAD_SUBNET', /the whole of IPv4/, { subnet: '0.0.0.0/0' }],
    [
      'IPAM_BAD_SUBNET',
      /no address left for a gateway/,
      { subnet: '10.0.2.1/32', auxAddresses: { a: '10.0.2.1' } },
    ],
    [
      'IPAM_SUBNET_OVERLAP',
      /subnet 10\.0\.1\.128\/25 overlaps with network "shop_default" \(10\.0\.1\.0\/24\)/,
      { subnet: '10.0.1.128/25' },
    ],
    [
      'IPAM_SUBNET_OVERLAP',
      /overlaps with the host's route 192\.0\.2\.0\/24 on eth0/,
      { subnet: '192.0.2.128/25' },
    ],
    [
      'IPAM_SUBNET_OVERLAP',
      /overlaps with the host's route 10\.8\.0\.0\/16 via 192\.0\.2\.1/,
      { subnet: '10.8.0.0/15' },
    ],
    ['IPAM_SUBNET_OVERLAP', /overlaps with another subnet of it/, good, { subnet: '10.0.2.0/25' }],
    [
      'IPAM_BAD_RANGE',
      /ip-range "10\.0\.3\.0\/25" is not inside/,
      { ...good, ipRange: '10.0.3.0/25' },
    ],
    ['IPAM_BAD_RANGE', /is not inside subnet/, { ...good, ipRange: '10.0.2.0/23' }],
    ['IPAM_BAD_RANGE', /host bits set/, { ...good, ipRange: '10.0.2.1/25' }],
    ['IPAM_BAD_RANGE', /is not ADDRESS\/LENGTH/, { ...good, ipRange: 'all' }],
    [
      'IPAM_BAD_GATEWAY',
      /gateway "10\.0\.3\.1" is not in subnet 10\.0\.2\.0\/24/,
      { ...good, gateway: '10.0.3.1' },
    ],
    ['IPAM_BAD_GATEWAY', /is the network address/, { ...good, gateway: '10.0.2.0' }],
    ['IPAM_BAD_GATEWAY', /is the broadcast address/, { ...good, gateway: '10.0.2.255' }],
    ['IPAM_BAD_GATEWAY', /is not an address/, { ...good, gateway: 'router' }],
    [
      'IPAM_ADDRESS_OUTSIDE',
      /auxiliary address "a" \(10\.0\.3\.1\) is not in subnet/,
      { ...good, auxAddresses: { a: '10.0.3.1' } },
    ],
    [
      'IPAM_BAD_ADDRESS',
      /auxiliary address "a" \(x\) is not an address/,
      { ...good, auxAddresses: { a: 'x' } },
    ],
    [
      'IPAM_ADDRESS_IN_USE',
      /is also the auxiliary address "a"/,
      { ...good, gateway: '10.0.2.9', auxAddresses: { a: '10.0.2.9' } },
    ],
    [
      'IPAM_ADDRESS_IN_USE',
      /auxiliary address "b" is the same as "a"/,
      { ...good, auxAddresses: { a: '10.0.2.9', b: '10.0.2.9' } },
    ],
  ]
  for (const [code, message, ...subnets] of cases) {
    const error = t.throws(
      () => resolve(requestOf(...subnets), [shop, lan, vpn]),
      { code, message },
      String(message),
    )
    t.ok(
      error instanceof IpamError &&
        /^Cannot create network "frontend": .*[^.]$/.test(error.message),
    )
  }
})

t.test('resolveSubnets() refuses a /128, which has no address for a gateway', async t => {
  const request = { name: 'n', subnets: [{ subnet: 'fd00::1/128' }], hasIpv4: false, hasIpv6: true }
  t.throws(() => resolve(request), { code: 'IPAM_BAD_SUBNET', message: /no address left/ })
})

t.test(
  'resolveSubnets() lets a declared subnet lie in a wider route through a gateway',
  async t => {
    t.equal(resolve(requestOf({ subnet: '10.8.1.0/24' }), [vpn])[0]?.subnet, '10.8.1.0/24')
  },
)
