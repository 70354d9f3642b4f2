/** The PROXY protocol header: its bytes, and where it goes. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import {
  composeLocalHeader,
  composeProxyHeader,
} from '../../../../mesh/dataplane/userspace/proxy-protocol.js'
import { parseAddress, addressBytes } from '../../../../src/base/ip.js'
import {
  destinationOf,
  dial,
  freePort,
  openPlane,
  serveTcp,
  serviceOf,
  stateOf,
} from './fixture.js'
import type { Client } from '../../../../mesh/dataplane/userspace/socket.js'

const signature = '0d0a0d0a000d0a515549540a'

function clientOf(address: string, port: number): Client {
  const parsed = parseAddress(address)
  const key = Buffer.from(addressBytes(parsed)).toString('latin1')
  return { family: parsed.family, key, port }
}

t.test('composeProxyHeader() writes version 2 for both families and protocols', async t => {
  const [a, b] = [clientOf('192.0.2.1', 0x1234), clientOf('198.51.100.2', 80)]
  const v4 = 'c0000201' + 'c6336402' + '1234' + '0050'
  t.equal(composeProxyHeader('tcp', a, b).toString('hex'), `${signature}2111000c${v4}`)
  t.equal(composeProxyHeader('udp', a, b).toString('hex'), `${signature}2112000c${v4}`)
  const [c, d] = [clientOf('2001:db8::1', 0x1234), clientOf('2001:db8::2', 443)]
  const v6 =
    '20010db8000000000000000000000001' + '20010db8000000000000000000000002' + '1234' + '01bb'
  t.equal(composeProxyHeader('tcp', c, d).toString('hex'), `${signature}21210024${v6}`)
  t.equal(composeProxyHeader('udp', c, d).toString('hex'), `${signature}21220024${v6}`)
  t.equal(composeLocalHeader().toString('hex'), `${signature}20000000`)
})

t.test('a TCP destination gets the header first, also from a client that says nothing', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const got: Buffer[] = []
  const backend = await serveTcp(t, socket => {
    socket.once('data', bytes => {
      got.push(bytes)
      socket.write('welcome')
    })
  })
  const destinations = [destinationOf('a', backend)]
  await plane.apply(stateOf(serviceOf({ port, destinations, proxyProtocol: 'v2' })))
  const client = await dial(t, port)
  t.match(String((await once(client, 'data'))[0]), 'welcome')
  const expected = composeProxyHeader(
    'tcp',
    clientOf('127.0.0.1', client.localPort ?? 0),
    clientOf('127.0.0.1', port),
  )
  t.equal(Buffer.concat(got).toString('hex'), expected.toString('hex'))
})

t.test('a UDP destination gets it before each datagram', async t => {
  const plane = openPlane(t)
  const port = await freePort()
  const server = createSocket('udp4').bind(0, '127.0.0.1')
  await once(server, 'listening')
  const client = createSocket('udp4').bind(0, '127.0.0.1')
  await once(client, 'listening')
  t.teardown(() => void [server.close(), client.close()])
  const destinations = [destinationOf('a', server.address().port)]
  const ports = [{ protocol: 'udp', first: port, last: port }] as const
  await plane.apply(stateOf(serviceOf({ port, ports, destinations, proxyProtocol: 'v2' })))
  const header = composeProxyHeader(
    'udp',
    clientOf('127.0.0.1', client.address().port),
    clientOf('127.0.0.7', port),
  )
  for (const text of ['one', 'two']) {
    client.send(text, port, '127.0.0.7')
    const [bytes] = (await once(server, 'message')) as [Buffer]
    t.equal(bytes.toString('hex'), header.toString('hex') + Buffer.from(text).toString('hex'))
  }
})
