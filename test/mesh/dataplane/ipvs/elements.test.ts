import t from 'tap'
import {
  composeHostElements,
  composeIngressElements,
} from '../../../../mesh/dataplane/ipvs/elements.js'
import { transportMark } from '../../../../mesh/dataplane/ipvs/marks.js'
import type { Element } from '../../../../mesh/nft/program.js'
import { destination, service } from './services.js'

const aliases = new Map([['192.0.2.1', '198.18.0.3']])
const ports = [
  { protocol: 'tcp', first: 8080, last: 8080 },
  { protocol: 'udp', first: 7000, last: 7099 },
  { protocol: 'tcp', first: 9090, last: 9090, address: '192.0.2.1' },
] as const
const [tcpMark, udpMark] = [transportMark(7, 'tcp'), transportMark(7, 'udp')]

function describe(elements: readonly Element[]): string[] {
  return elements.map(({ collection, key, data }) => `${collection} ${key} -> ${data}`)
}

t.test('composeHostElements() leads ports on, those of one address to one of their own', t => {
  t.strictSame(describe(composeHostElements(service({ ports }), aliases)), [
    'ports tcp . 8080 -> ',
    'ranges udp . 7000-7099 -> ',
    'ports4 192.0.2.1 . tcp . 9090 -> 198.18.0.3',
  ])
  t.end()
})

t.test('composeIngressElements() marks ports, says who is served, and who talks to himself', t => {
  const { ipv6, ...only4 } = destination(3, { ownAddresses: ['10.0.1.2', 'fd00:1::2'] })
  t.ok(ipv6)
  const elements = composeIngressElements(service({ ports, destinations: [only4] }), aliases)
  t.strictSame(describe(elements), [
    `ports tcp . 8080 -> ${tcpMark}`,
    `ranges udp . 7000-7099 -> ${udpMark}`,
    `ports4 198.18.0.3 . tcp . 9090 -> ${tcpMark}`,
    `served4 ${tcpMark} -> `,
    `served4 ${udpMark} -> `,
    'hairpin4 10.99.0.3 . 10.99.0.3 -> ',
    'hairpin4 10.0.1.2 . 10.99.0.3 -> ',
  ])
  t.end()
})
