/** What is done to one socket, in words: names, options, beginning and end. Linux's constants live here. */

import { addressBytes, addressOfBytes, formatAddress, parseAddress } from '../../../src/base/ip.js'
import { KernelError } from '../../../src/kernel/error.js'
import { errnoName } from '../../../src/kernel/libc.js'
import { LENGTH, NAME, VALUE } from './block.js'
import { calls, errno } from './libc.js'
import type { Family } from '../../../src/base/ip.js'
import type { Block } from './block.js'

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
export const SOCK_NONBLOCK_CLOEXEC = 0x8_0800
const SOL_IP = 0
const SOL_SOCKET = 1
const SOL_TCP = 6
const SOL_IPV6 = 41
const SO_REUSEADDR = 2
const SO_ERROR = 4
const SO_LINGER = 13
const SO_REUSEPORT = 15
const SO_ACCEPTCONN = 30
const TCP_NODELAY = 1
const IP_PKTINFO = 8
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const SHUT_RD = 0
const SHUT_WR = 1
const NAME_BYTES = 28

/** A socket address. `address` is canonical text, so that equal ones compare equal. */
export interface Endpoint {
  readonly family: Family
  readonly address: string
  readonly port: number
}

/** What a client is known by: `key` is its address as a string of bytes, fast to hash. */
export interface Client {
  readonly family: Family
  readonly key: string
  readonly port: number
}

/** Makes sockets, in the network namespace and with the rights that they need. */
export interface SocketDoor {
  /**
   * A non-blocking socket bound to `endpoint`, not listening yet; a listening one will do too.
   * `isShared`: with SO_REUSEPORT, as the port is ours on another
   * address too, or by a socket that this one follows. The caller owns it. Throws KernelError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ...
   */
  bind(protocol: 'tcp' | 'udp', endpoint: Endpoint, isShared: boolean): number
  /** A non-blocking socket towards destinations. The caller owns it. Throws KernelError. */
  create(protocol: 'tcp' | 'udp', family: Family): number
}

/** Sockets of this process, where it is. */
export function processSockets(block: Block): SocketDoor {
  return {
    create: createSocket,
    bind: (protocol, endpoint, isShared) => {
      const fd = createSocket(protocol, endpoint.family)
      // What waits out its minute of TIME_WAIT does not hold the port.
      if (protocol === 'tcp') setOption(block, fd, SOL_SOCKET, SO_REUSEADDR, 1)
      if (endpoint.family === 6) setOption(block, fd, SOL_IPV6, IPV6_V6ONLY, 1)
      if (isShared) sharePort(block, fd, true)
      const length = writeName(block, addressOf(endpoint), endpoint.port)
      if (calls.bind(fd, block.address + NAME, length) === 0) return fd
      const code = errnoName(errno())
      calls.close(fd)
      throw new KernelError(code, `Cannot bind ${describeEndpoint(endpoint)}: ${code}`)
    },
  }
}

function createSocket(protocol: 'tcp' | 'udp', family: Family): number {
  const type = (protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK_CLOEXEC
  const fd = calls.socket(family === 4 ? AF_INET : AF_INET6, type, 0)
  if (fd >= 0) return fd
  const code = errnoName(errno())
  throw new KernelError(code, `Cannot make a ${protocol} socket: the kernel says ${code}`)
}

/** `10.0.0.1:80`, `[::]:80`. */
export function describeEndpoint({ family, address, port }: Endpoint): string {
  return family === 4 ? `${address}:${port}` : `[${address}]:${port}`
}

/** 4 or 16 bytes. */
export function addressOf({ address }: Endpoint): Uint8Array {
  return addressBytes(parseAddress(address))
}

/** Writes struct sockaddr_in or sockaddr_in6 to the block's NAME; returns its length. */
export function writeName({ bytes }: Block, address: Uint8Array, port: number): number {
  const isV4 = address.length === 4
  bytes.writeUInt16LE(isV4 ? AF_INET : AF_INET6, NAME)
  bytes.writeUInt16BE(port, NAME + 2)
  bytes.writeUInt32LE(0, NAME + 4)
  bytes.set(address, NAME + (isV4 ? 4 : 8))
  if (isV4) return 16
  bytes.writeUInt32LE(0, NAME + 24)
  return NAME_BYTES
}

/** The client whose name the kernel wrote to the block. */
export function readClient({ bytes }: Block): Client {
  const port = bytes.readUInt16BE(NAME + 2)
  if (bytes.readUInt16LE(NAME) === AF_INET) {
    return { family: 4, key: bytes.toString('latin1', NAME + 4, NAME + 8), port }
  }
  return { family: 6, key: bytes.toString('latin1', NAME + 8, NAME + 24), port }
}

/** The address in a client's key, as text. */
export function formatKey(key: string): string {
  return formatAddress(addressOfBytes(Buffer.from(key, 'latin1')))
}

/** The own address of a connection. */
export function readLocal(block: Block, fd: number): Client {
  block.bytes.writeUInt32LE(NAME_BYTES, LENGTH)
  calls.getsockname(fd, block.address + NAME, block.address + LENGTH)
  return readClient(block)
}

/** The next connection that waits, its client's name in the block; negative where none does. */
export function accept(block: Block, fd: number): number {
  block.bytes.writeUInt32LE(NAME_BYTES, LENGTH)
  return calls.accept4(fd, block.address + NAME, block.address + LENGTH, SOCK_NONBLOCK_CLOEXEC)
}

/** Bytes go out as they come: both ends have decided on their segments already. */
export function setNoDelay(block: Block, fd: number): void {
  setOption(block, fd, SOL_TCP, TCP_NODELAY, 1)
}

/** Zero, or the errno that a connect ended with. Clears it. */
export function takeError(block: Block, fd: number): number {
  const { bytes, address } = block
  bytes.writeUInt32LE(4, LENGTH)
  calls.getsockopt(fd, SOL_SOCKET, SO_ERROR, address + VALUE, address + LENGTH)
  return bytes.readInt32LE(VALUE)
}

/** Closing sends RST instead of FIN. */
export function setReset(block: Block, fd: number): void {
  block.bytes.writeInt32LE(1, VALUE)
  block.bytes.writeInt32LE(0, VALUE + 4)
  calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, block.address + VALUE, 8)
}

/** FIN: nothing more will be sent. */
export function endWriting(fd: number): void {
  calls.shutdown(fd, SHUT_WR)
}

/** Connections are taken from now on. Throws KernelError `EADDRINUSE`. */
export function startListening(block: Block, fd: number, backlog: number): void {
  setOption(block, fd, SOL_SOCKET, SO_REUSEADDR, 1)
  if (calls.listen(fd, backlog) === 0) return
  const code = errnoName(errno())
  throw new KernelError(code, `Cannot listen: the kernel says ${code}`)
}

/**
 * The kernel answers connections with RST, and the port stays ours: a bound socket that does not
 * listen. (Bound with SO_REUSEADDR it would share the port with others that have it.)
 */
export function stopListening(block: Block, fd: number): void {
  calls.shutdown(fd, SHUT_RD)
  setOption(block, fd, SOL_SOCKET, SO_REUSEADDR, 0)
}

/**
 * The kernel answers datagrams with port unreachable, and the port stays ours: a socket that is
 * connected to itself takes nobody else's. It does not come back from that: over IPv6, disconnecting
 * leaves the peer's address in the kernel's lookup. Returns false where it cannot be.
 */
export function refuseDatagrams(block: Block, fd: number, endpoint: Endpoint): boolean {
  const loopback = endpoint.family === 4 ? '127.0.0.1' : '::1'
  const isWildcard = endpoint.address === '0.0.0.0' || endpoint.address === '::'
  const self = { ...endpoint, address: isWildcard ? loopback : endpoint.address }
  const length = writeName(block, addressOf(self), endpoint.port)
  return calls.connect(fd, block.address + NAME, length) === 0
}

/** True where `fd` is a socket of `port`, and listens as said; undefined: that is no matter. */
export function isBoundAs(
  block: Block,
  fd: number,
  port: number,
  isListening: boolean | undefined,
): boolean {
  const { bytes, address } = block
  bytes.fill(0, NAME, NAME + NAME_BYTES)
  if (fd < 0 || readLocal(block, fd).port !== port) return false
  if (isListening === undefined) return true
  bytes.writeUInt32LE(4, LENGTH)
  bytes.writeInt32LE(0, VALUE)
  calls.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, address + VALUE, address + LENGTH)
  return (bytes.readInt32LE(VALUE) !== 0) === isListening
}

/** True: sockets of this user may be bound to the same port, if they say so too. */
export function sharePort(block: Block, fd: number, isShared: boolean): void {
  setOption(block, fd, SOL_SOCKET, SO_REUSEPORT, isShared ? 1 : 0)
}

/** Every datagram comes with the address that it was sent to. */
export function setPacketInfo(block: Block, fd: number, family: Family): void {
  if (family === 4) setOption(block, fd, SOL_IP, IP_PKTINFO, 1)
  else setOption(block, fd, SOL_IPV6, IPV6_RECVPKTINFO, 1)
}

function setOption(block: Block, fd: number, level: number, option: number, value: number): void {
  block.bytes.writeInt32LE(value, VALUE)
  calls.setsockopt(fd, level, option, block.address + VALUE, 4)
}
