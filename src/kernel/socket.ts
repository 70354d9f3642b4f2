/** Sockets as bare descriptors, made in the namespace of the calling moment, for others to adopt. */
import { closeSync } from 'node:fs'
import { addressBytes, parseAddress, type Family } from '../base/ip.js'
import { ignoring } from './error.js'
import { check, libc } from './libc.js'

/** Linux: include/linux/net.h, include/uapi/asm-generic/socket.h. */
const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK_CLOEXEC = 0x8_0800
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
/** include/uapi/linux/in6.h. */
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26

export interface BoundSocket {
  readonly fd: number
  readonly port: number
}

export interface Place {
  readonly address: string
  /** 0: any free one. */
  readonly port: number
}

/** A bound UDP socket. Throws KernelError (`EADDRINUSE`, ...). */
export function openUdpSocket(
  place: Place & { readonly receiveBufferBytes?: number },
): BoundSocket {
  return open(place, SOCK_DGRAM, fd => {
    if (place.receiveBufferBytes === undefined) return
    const value = int32(place.receiveBufferBytes)
    // Beyond rmem_max needs CAP_NET_ADMIN; without it the kernel's bound is what there is.
    if (libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, value, 4) !== 0) {
      libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value, 4)
    }
  })
}

/** A listening TCP socket. Throws KernelError (`EADDRINUSE`, ...). */
export function openTcpListener(place: Place & { readonly backlog: number }): BoundSocket {
  const bound = open(place, SOCK_STREAM, fd =>
    libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, int32(1), 4),
  )
  check(libc.listen(bound.fd, place.backlog), `listen on ${place.address} port ${bound.port}`)
  return bound
}

/**
 * Whether a port could be had now: false where anybody listens on it, on that address or on all. The
 * other family does not count, nor do connections that are over. Leaves nothing. Throws KernelError
 * where the reason is another: `EADDRNOTAVAIL`, no such address here; `EACCES`.
 */
export function canBind({
  protocol,
  address,
  port,
}: Place & { readonly protocol: 'tcp' | 'udp' }): boolean {
  const isTcp = protocol === 'tcp'
  return ignoring('EADDRINUSE', () => {
    const { fd } = open({ address, port }, isTcp ? SOCK_STREAM : SOCK_DGRAM, fd => {
      if (address.includes(':')) libc.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, int32(1), 4)
      // Without it the remains of connections count; with it two UDP sockets may share a port.
      if (isTcp) libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, int32(1), 4)
    })
    closeSync(fd)
  })
}

/** A UDP socket that nothing was done with. */
export function unboundUdp(family: Family): number {
  return create(family, SOCK_DGRAM)
}

/** A TCP socket that nothing was done with. */
export function unboundTcp(family: Family): number {
  return create(family, SOCK_STREAM)
}

function create(family: Family, type: number): number {
  const domain = family === 4 ? AF_INET : AF_INET6
  return check(libc.socket(domain, type | SOCK_NONBLOCK_CLOEXEC, 0), 'make a socket')
}

function open(place: Place, type: number, prepare: (fd: number) => void): BoundSocket {
  const address = parseAddress(place.address)
  const fd = create(address.family, type)
  try {
    prepare(fd)
    const name = composeName(place)
    check(libc.bind(fd, name, name.length), `bind ${place.address} port ${place.port}`)
    const bound = Buffer.alloc(28)
    check(libc.getsockname(fd, bound, [bound.length]), 'read the port of a socket')
    return { fd, port: bound.readUInt16BE(2) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)). */
function composeName({ address, port }: Place): Buffer {
  const { family, value } = parseAddress(address)
  const name = Buffer.alloc(family === 4 ? 16 : 28)
  name.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0)
  name.writeUInt16BE(port, 2)
  name.set(addressBytes({ family, value }), family === 4 ? 4 : 8)
  return name
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  return buffer
}
