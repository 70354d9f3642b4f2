/**
 * UDP sockets as file descriptors: opens one, reads what it is bound to, and raises its buffer.
 * Socket addresses are struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)).
 */

import { isIPv6 } from 'node:net'
import { addressBytes, addressOfBytes, formatAddress, parseAddress } from '../../src/base/ip.js'
import { listenError } from './listener.js'
import type { Libc } from './libc.js'

const AF_INET = 2
const AF_INET6 = 10
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26

/**
 * Receive buffer of a UDP socket: some 5,000 queries (a query costs the kernel 768 bytes). The
 * default of 212,992 lost 412 of a burst of 1,500.
 */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

export interface SocketAddress {
  readonly address: string
  readonly port: number
}

/** Opens a UDP socket bound to `address` and `port` (0: any). Throws ListenError. */
export function openUdpSocket(libc: Libc, address: string, port: number): number {
  const family = isIPv6(address) ? AF_INET6 : AF_INET
  const fd = libc.socket(family, SOCK_DGRAM_CLOEXEC, 0)
  if (fd < 0) throw listenError(libc.errnoName(), 'udp', address, port)
  if (family === AF_INET6) setOption(libc, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
  const name = composeSocketAddress(address, port)
  if (libc.bind(fd, name, name.length) !== 0) {
    const failure = listenError(libc.errnoName(), 'udp', address, port)
    libc.close(fd)
    throw failure
  }
  return fd
}

/** Raises the receive buffer as far as we may: without CAP_NET_ADMIN up to net.core.rmem_max. */
export function raiseReceiveBuffer(libc: Libc, fd: number, bytes = RECEIVE_BUFFER_BYTES): void {
  if (setOption(libc, fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) return
  setOption(libc, fd, SOL_SOCKET, SO_RCVBUF, bytes)
}

/** What a socket is bound to; port 0 where the descriptor is no bound socket. */
export function socketAddress(libc: Libc, fd: number): SocketAddress {
  const name = Buffer.alloc(28)
  const length = Uint32Array.of(name.length)
  if (libc.getsockname(fd, name, length) !== 0) return { address: '', port: 0 }
  const isV6 = name.readUInt16LE(0) === AF_INET6
  const bytes = isV6 ? name.subarray(8, 24) : name.subarray(4, 8)
  return { address: formatAddress(addressOfBytes(bytes)), port: name.readUInt16BE(2) }
}

function composeSocketAddress(address: string, port: number): Buffer {
  const parsed = parseAddress(address)
  const name = Buffer.alloc(parsed.family === 6 ? 28 : 16)
  name.writeUInt16LE(parsed.family === 6 ? AF_INET6 : AF_INET, 0)
  name.writeUInt16BE(port, 2)
  name.set(addressBytes(parsed), parsed.family === 6 ? 8 : 4)
  return name
}

function setOption(libc: Libc, fd: number, level: number, option: number, value: number): boolean {
  return libc.setsockopt(fd, level, option, Int32Array.of(value), 4) === 0
}
