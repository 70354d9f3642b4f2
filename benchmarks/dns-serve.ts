/**
 * One server process of the DNS benchmark: `batched` and `portable` are Portolan, `bare` is the
 * twenty lines that any resolver in Node has to beat, `upstream` answers whatever is asked.
 *
 *     node dns-serve.js batched|portable|bare|upstream ADDRESS NAMES [UPSTREAM]
 */

import { createSocket } from 'node:dgram'
import { Resolver } from '../resolver/index.js'
import { addressOf } from './dns-peers.js'

const [mode = '', address = '', names = '0', upstream] = process.argv.slice(2)

if (mode === 'batched' || mode === 'portable') await servePortolan(mode)
else serveBare()

async function servePortolan(listener: 'batched' | 'portable'): Promise<void> {
  const endpoints = Array.from({ length: Number(names) }, (_, i) => ({
    id: `id${i}`,
    name: `c${i}`,
    addresses: [addressOf(i)],
  }))
  const bench = { name: 'bench', subnets: ['10.64.0.0/10'], gateways: [], endpoints }
  await Resolver.open({
    address,
    port: 53,
    listener,
    networks: [bench],
    upstreams: upstream === undefined ? [] : [upstream],
    // Every forwarded query is to be asked.
    forwarder: { cacheEntries: 0 },
  })
}

/** Answers every question with the same address: no zone, no checks, no EDNS. */
function serveBare(): void {
  const socket = createSocket('udp4')
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 203, 0, 113, 10])
  socket.on('message', (query, peer) => {
    let end = 12
    while (query[end] !== 0 && end < query.length) end += (query[end] ?? 0) + 1
    const reply = Buffer.concat([query.subarray(0, end + 5), record])
    reply.writeUInt16BE(0x8580, 2)
    reply.writeUInt16BE(1, 6)
    reply.writeUInt32BE(0, 8)
    socket.send(reply, peer.port, peer.address)
  })
  socket.bind({ address, port: 53 }, () => {
    if (mode === 'upstream') socket.setRecvBufferSize(4 * 1024 * 1024)
  })
}
