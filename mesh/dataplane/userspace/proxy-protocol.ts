/**
 * Tells a destination whose connection it gets: the binary header of the PROXY protocol, version 2
 * (haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2). Pure: data in, bytes out.
 */

import type { Client } from './socket.js'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const VERSION_2 = 0x20
const COMMAND_LOCAL = 0x0
const COMMAND_PROXY = 0x1
const FAMILY_INET = 0x10
const FAMILY_INET6 = 0x20
const TRANSPORT = { tcp: 0x1, udp: 0x2 } as const

/** A connection of `source` to `target`, which are of one family: TCP4, TCP6, UDP4, UDP6. */
export function composeProxyHeader(
  protocol: 'tcp' | 'udp',
  source: Client,
  target: Client,
): Buffer {
  const family = source.family === 4 ? FAMILY_INET : FAMILY_INET6
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(source.port, 0)
  ports.writeUInt16BE(target.port, 2)
  const addresses = Buffer.from(source.key + target.key, 'latin1')
  return composeHeader(COMMAND_PROXY, family | TRANSPORT[protocol], [addresses, ports])
}

/** A connection of the proxy's own, such as a probe: nobody stands behind it. */
export function composeLocalHeader(): Buffer {
  return composeHeader(COMMAND_LOCAL, 0, [])
}

function composeHeader(command: number, family: number, body: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt8(VERSION_2 | command, 0)
  head.writeUInt8(family, 1)
  head.writeUInt16BE(
    body.reduce((sum, part) => sum + part.length, 0),
    2,
  )
  return Buffer.concat([SIGNATURE, head, ...body])
}
