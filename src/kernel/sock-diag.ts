/**
 * TCP and UDP sockets, whoever holds them, in the namespace of the calling moment (sock_diag(7),
 * include/uapi/linux/inet_diag.h). Connections that the host merely forwards have none here.
 */
import {
  addressBytes,
  addressOfBytes,
  formatAddress,
  parseAddress,
  type Family,
} from '../base/ip.js'
import { visitAttributes } from './attribute.js'
import { ignoring, KernelError } from './error.js'
import { familyNumber, familyOf } from './family.js'
import { NETLINK_SOCK_DIAG, readNetlink, sendNetlink } from './netlink.js'

/** include/uapi/linux/sock_diag.h. */
const SOCK_DIAG_BY_FAMILY = 20
const SOCK_DESTROY = 21
const INET_DIAG_SKV6ONLY = 11
const IPPROTO = { tcp: 6, udp: 17 } as const
/** struct inet_diag_req_v2, inet_diag_msg; inet_diag_sockid is in the one from 8 on, in the other from 4. */
const REQUEST_BYTES = 56
const REQUEST_ID = 8
const MESSAGE_BYTES = 72
const MESSAGE_ID = 4
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')
/** By the kernel's number (include/net/tcp_states.h); 0 is none, 12 shows as 3. */
const STATES = [
  undefined,
  'established',
  'syn-sent',
  'syn-received',
  'fin-wait-1',
  'fin-wait-2',
  'time-wait',
  'close',
  'close-wait',
  'last-ack',
  'listen',
  'closing',
] as const
const LISTEN = STATES.indexOf('listen')
/** Of a UDP socket: without a peer. */
const CLOSE = STATES.indexOf('close')

/** The states of RFC 9293 §3.3.2. */
export type TcpState = Exclude<(typeof STATES)[number], undefined>

/** One end of a TCP connection. Addresses of IPv4 are IPv4, whatever the socket is. */
export interface TcpConnection {
  readonly family: Family
  readonly state: TcpState
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  /** 0 where no process holds it any more. */
  readonly inode: number
  /** Tells the socket from a later one with the same addresses and ports. */
  readonly cookie: bigint
  /** The link that the socket is bound to; 0: none. */
  readonly linkIndex: number
}

/** A socket that takes what comes to a port: a TCP listener, or a UDP socket without a peer. */
export interface Listener {
  readonly protocol: 'tcp' | 'udp'
  readonly family: Family
  /** `0.0.0.0` and `::` are all addresses. */
  readonly address: string
  readonly port: number
  /** Whether a socket of `::` takes IPv4 as well. */
  readonly isDualStack: boolean
  readonly inode: number
  readonly linkIndex: number
}

/** Which connections are meant; absent: any. */
export interface ConnectionFilter {
  readonly localPort?: number
  readonly remotePort?: number
}

/**
 * The connections of both families, in whatever state, without listeners. Throws KernelError
 * `KERNEL_UNSUPPORTED` where the kernel tells of no sockets.
 */
export function listTcpConnections(filter: ConnectionFilter = {}): readonly TcpConnection[] {
  const states = ~(1 | (1 << LISTEN) | (1 << CLOSE))
  return dump('tcp', states, filter, parseConnection).filter(
    ({ localPort, remotePort }) =>
      (filter.localPort ?? localPort) === localPort &&
      (filter.remotePort ?? remotePort) === remotePort,
  )
}

/** The ports that somebody listens on. Throws KernelError `KERNEL_UNSUPPORTED`. */
export function listListeners(): readonly Listener[] {
  const reader = (protocol: Listener['protocol']) => (message: Buffer) =>
    parseListener(message, protocol)
  return [
    ...dump('tcp', 1 << LISTEN, {}, reader('tcp')),
    ...dump('udp', 1 << CLOSE, {}, reader('udp')),
  ]
}

/**
 * Ends a connection: its peer gets a reset, its holder ECONNABORTED. Returns false where it is gone.
 * Throws KernelError `KERNEL_UNSUPPORTED` where the kernel was built without CONFIG_INET_DIAG_DESTROY.
 */
export function destroyTcp(
  connection: Pick<
    TcpConnection,
    'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort' | 'cookie' | 'linkIndex'
  >,
): boolean {
  const { localAddress, localPort, remoteAddress, remotePort } = connection
  const { family } = parseAddress(localAddress)
  const payload = composeRequest(family, 'tcp', ~0, connection)
  payload.set(addressBytes(parseAddress(localAddress)), REQUEST_ID + 4)
  payload.set(addressBytes(parseAddress(remoteAddress)), REQUEST_ID + 20)
  payload.writeUInt32LE(connection.linkIndex, REQUEST_ID + 36)
  payload.writeBigUInt64LE(connection.cookie, REQUEST_ID + 40)
  const attempt = `end the connection of ${localAddress} port ${localPort} with ${remoteAddress} port ${remotePort}`
  const request = { protocol: NETLINK_SOCK_DIAG, type: SOCK_DESTROY, flags: 0, payload, attempt }
  return supported(attempt, () => ignoring('ENOENT', () => sendNetlink(request)))
}

/** The connection of one message; undefined where it is cut. */
export function parseConnection(message: Buffer): TcpConnection | undefined {
  const socket = parseSocket(message)
  const state = STATES[message[1] ?? 0]
  if (socket === undefined || state === undefined) return undefined
  const remoteAddress = addressAt(message, MESSAGE_ID + 20)
  const { family, address, port, inode, linkIndex } = socket
  return {
    family,
    state,
    localAddress: address,
    localPort: port,
    remoteAddress,
    remotePort: message.readUInt16BE(MESSAGE_ID + 2),
    inode,
    cookie: message.readBigUInt64LE(MESSAGE_ID + 40),
    linkIndex,
  }
}

/** The listener of one message; undefined where it is cut, or bound to no port. */
export function parseListener(
  message: Buffer,
  protocol: Listener['protocol'],
): Listener | undefined {
  const socket = parseSocket(message)
  if (socket === undefined || socket.port === 0) return undefined
  let isIpv6Only = false
  visitAttributes(message, MESSAGE_BYTES, message.length, (type, start, end) => {
    if (type === INET_DIAG_SKV6ONLY && end > start) isIpv6Only = message[start] === 1
  })
  return { protocol, ...socket, isDualStack: socket.address === '::' && !isIpv6Only }
}

function parseSocket(
  message: Buffer,
): Pick<Listener, 'family' | 'address' | 'port' | 'inode' | 'linkIndex'> | undefined {
  if (message.length < MESSAGE_BYTES || familyOf(message[0]) === undefined) return undefined
  const address = addressAt(message, MESSAGE_ID + 4)
  return {
    family: address.includes(':') ? 6 : 4,
    address,
    port: message.readUInt16BE(MESSAGE_ID),
    inode: message.readUInt32LE(MESSAGE_BYTES - 4),
    linkIndex: message.readUInt32LE(MESSAGE_ID + 36),
  }
}

function addressAt(message: Buffer, at: number): string {
  if (familyOf(message[0]) === 4) return textOf(message.subarray(at, at + 4))
  const isMapped = message.subarray(at, at + 12).equals(MAPPED)
  return textOf(message.subarray(isMapped ? at + 12 : at, at + 16))
}

function textOf(bytes: Buffer): string {
  return bytes.length === 4 ? bytes.join('.') : formatAddress(addressOfBytes(bytes))
}

function dump<T>(
  protocol: Listener['protocol'],
  states: number,
  filter: ConnectionFilter,
  parse: (message: Buffer) => T | undefined,
): readonly T[] {
  const attempt = `list ${protocol} sockets`
  return ([4, 6] as const).flatMap(family => {
    const payload = composeRequest(family, protocol, states, filter)
    const request = { protocol: NETLINK_SOCK_DIAG, type: SOCK_DIAG_BY_FAMILY, payload, attempt }
    return supported(attempt, () =>
      readNetlink(request, message =>
        message.type === SOCK_DIAG_BY_FAMILY ? parse(message.payload) : undefined,
      ),
    )
  })
}

function composeRequest(
  family: Family,
  protocol: Listener['protocol'],
  states: number,
  { localPort = 0, remotePort = 0 }: ConnectionFilter,
): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES)
  request.writeUInt8(familyNumber(family), 0)
  request.writeUInt8(IPPROTO[protocol], 1)
  request.writeUInt32LE(states >>> 0, 4)
  request.writeUInt16BE(localPort, REQUEST_ID)
  request.writeUInt16BE(remotePort, REQUEST_ID + 2)
  return request
}

/** Without its module the kernel has neither a handler for the protocol nor the netlink family. */
function supported<T>(attempt: string, body: () => T): T {
  try {
    return body()
  } catch (cause) {
    const isMissing =
      cause instanceof KernelError &&
      ['EOPNOTSUPP', 'ENOTSUP', 'EPROTONOSUPPORT', 'ENOENT'].includes(cause.code)
    if (!isMissing) throw cause
    throw new KernelError(
      'KERNEL_UNSUPPORTED',
      `Cannot ${attempt}: this kernel lacks it; load the modules tcp_diag and udp_diag, or use one built with CONFIG_INET_DIAG_DESTROY`,
      { cause },
    )
  }
}
