import t from 'tap'
import { composeBalances } from '../../../../mesh/dataplane/ipvs/balance.js'
import { transportMark } from '../../../../mesh/dataplane/ipvs/marks.js'
import type { VirtualService } from '../../../../mesh/state.js'
import { destination, service } from './services.js'

const tcpMark = transportMark(7, 'tcp')
const udpMark = transportMark(7, 'udp')
const tcp = { protocol: 'tcp', first: 8080, last: 8080 } as const
const udp = { protocol: 'udp', first: 53, last: 53 } as const
const byClient = { kind: 'client-ip', timeoutSeconds: 60 } as const

function servicesOf(changes: Partial<VirtualService>) {
  return [...composeBalances(service(changes)).values()].map(one => one.service)
}

function weightsOf(changes: Partial<VirtualService>): number[] {
  const [first] = composeBalances(service(changes)).values()
  return [...(first?.destinations.values() ?? [])].map(({ weight }) => weight)
}

t.test('composeBalances() makes a service of each family, all ports in one', t => {
  const ports = [tcp, { ...tcp, first: 7000, last: 7099 }]
  t.strictSame(servicesOf({ ports, destinations: [destination(3)] }), [
    { kind: 'fwmark', family: 4, mark: tcpMark, scheduler: 'rr' },
    { kind: 'fwmark', family: 6, mark: tcpMark, scheduler: 'rr' },
  ])
  t.end()
})

t.test('composeBalances() gives datagrams a service of their own', t => {
  const marks = servicesOf({ ports: [tcp, udp], destinations: [destination(3)] }).map(
    one => one.kind === 'fwmark' && `${one.family} ${one.mark}`,
  )
  t.strictSame(marks, [`4 ${tcpMark}`, `4 ${udpMark}`, `6 ${tcpMark}`, `6 ${udpMark}`])
  t.end()
})

t.test('composeBalances() leaves out a family that nobody has', t => {
  const { ipv6, ...only4 } = destination(3)
  t.ok(ipv6)
  t.strictSame(
    servicesOf({ destinations: [only4] }).map(one => one.kind === 'fwmark' && one.family),
    [4],
  )
  t.strictSame(servicesOf({}), [])
  t.end()
})

t.test('composeBalances() keeps ports, by destinations of port 0 that are masqueraded', t => {
  const [first] = composeBalances(
    service({ destinations: [destination(3, { weight: 5 })] }),
  ).values()
  t.strictSame(
    [...(first?.destinations ?? [])],
    [
      [
        '10.99.0.3',
        { address: '10.99.0.3', port: 0, weight: 5, forwarding: { kind: 'masquerade' } },
      ],
    ],
  )
  t.end()
})

t.test('composeBalances() keeps a client at its destination by its whole address', t => {
  const destinations = [destination(3)]
  const lengths = servicesOf({ affinity: byClient, destinations }).map(one => one.persistence)
  t.strictSame(lengths, [
    { timeoutSeconds: 60, prefixLength: 32 },
    { timeoutSeconds: 60, prefixLength: 128 },
  ])
  t.end()
})

t.test('composeBalances() has TCP and UDP of one client meet by a hash', t => {
  const destinations = [destination(3, { weight: 9 })]
  const both = { affinity: byClient, ports: [tcp, udp], destinations }
  t.same(new Set(servicesOf(both).map(one => one.scheduler)), new Set(['mh']))
  t.strictSame(weightsOf(both), [1], 'which knows no weights where rr was asked for')
  t.strictSame(weightsOf({ ...both, scheduler: 'wrr' }), [9])
  t.end()
})

t.test('composeBalances() has hashes pass over who takes no new connections', t => {
  for (const scheduler of ['sh', 'mh'] as const) {
    const [first] = servicesOf({ scheduler, destinations: [destination(3)] })
    t.strictSame(first?.flags, ['fallback'], scheduler)
  }
  t.end()
})

t.test('composeBalances() fits weights into the 256 slots of sh', t => {
  const weigh = (weights: readonly number[]): number[] =>
    weightsOf({
      scheduler: 'sh',
      destinations: weights.map((weight, i) => destination(i + 3, { weight })),
    })
  t.strictSame(weigh([100, 100, 200]), [1, 1, 2])
  t.strictSame(weigh([65_535, 1]), [255, 1])
  const many = weigh([199, 211, 223])
  t.ok(many.reduce((sum, weight) => sum + weight, 0) <= 256, many.join(' '))
  t.end()
})
