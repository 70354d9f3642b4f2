import t from 'tap'
import { planHosts } from '../../src/plan/hosts.js'

t.test('planHosts() lists localhost, added entries, links and the sandbox itself', async t => {
  const text = planHosts({
    hostname: 'web',
    domainname: 'corp.example',
    addresses: ['10.0.1.5', 'fd00:1::5'],
    extraHosts: [
      { name: 'db', address: '192.0.2.9' },
      { name: 'host', address: 'host-gateway' },
    ],
    hostGateways: ['10.0.1.1', 'fd00:1::1'],
    links: [{ address: '10.0.0.3', alias: 'cache', hostname: 'c3host', name: 'c3' }],
    hasIpv6: true,
  })
  t.equal(
    text,
    `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
192.0.2.9\tdb
10.0.1.1\thost
fd00:1::1\thost
10.0.0.3\tcache c3host c3
10.0.1.5\tweb.corp.example web
fd00:1::5\tweb.corp.example web
`,
  )
})

t.test('planHosts() without IPv6 has no IPv6 lines of its own', async t => {
  t.equal(planHosts({ hostname: 'web', addresses: [], hasIpv6: false }), '127.0.0.1\tlocalhost\n')
})

t.test('planHosts() leaves host-gateway entries out where the host cannot be reached', async t => {
  const extraHosts = [{ name: 'host', address: 'host-gateway' }]
  const text = planHosts({ hostname: 'web', addresses: [], extraHosts, hasIpv6: false })
  t.notMatch(text, 'host-gateway')
})

t.test('planHosts() writes each name of a link once', async t => {
  const links = [{ address: '10.0.0.3', alias: 'c3', hostname: 'c3', name: 'c3' }]
  const text = planHosts({ hostname: 'web', addresses: [], links, hasIpv6: false })
  t.match(text, '10.0.0.3\tc3\n')
})
