/**
 * Netlink, synchronous: the kernel queues the reply before send returns, so a request needs no event
 * loop (netlink(7)). A socket belongs to the namespace it was made in; each call makes its own.
 */
import { closeSync } from 'node:fs'
import koffi from 'koffi'
import { parseAttributes } from './attribute.js'
import { KernelError } from './error.js'
import { check, errnoName, libc } from './libc.js'

/** Linux: include/uapi/linux/netlink.h. */
export const NLM_F = {
  REQUEST: 0x1,
  ACK: 0x4,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  DUMP: 0x300,
}
const AF_NETLINK = 16
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x8_0800
const SOCK_RAW_CLOEXEC = 3 | 0x8_0000
const SOL_NETLINK = 270
const NETLINK_EXT_ACK = 11
const NETLINK_ADD_MEMBERSHIP = 1
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLM_F_DUMP_INTR = 0x10
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLMSGERR_ATTR_MSG = 1
const HEADER_BYTES = 16
/** The kernel fills dumps up to 32 KiB a datagram (af_netlink.c, netlink_dump). */
const RECEIVE_BYTES = 1 << 16
const MSG_TRUNC = 0x20
/** asm-generic/socket.h. */
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
/** A dump that changes under the reader is read again, so often. */
const DUMP_TRIES = 5
/** So many that a refusal of each fits the kernel's default receive buffer of 208 KiB at once. */
const BATCH = 64
export const NETLINK_ROUTE = 0
export const NETLINK_SOCK_DIAG = 4
export const NETLINK_NETFILTER = 12
/** What a request asks: `attempt` completes "Cannot ..." in its error. */
export interface NetlinkRequest {
  readonly protocol: number
  readonly type: number
  readonly flags: number
  readonly payload: Buffer
  readonly attempt: string
}

export interface NetlinkMessage {
  readonly type: number
  readonly payload: Buffer
}

/** `overrun`: messages were lost, so everything has to be read anew. */
export interface NetlinkNews {
  readonly messages: readonly NetlinkMessage[]
  readonly overrun: boolean
}

export interface NetlinkMonitor {
  readonly fd: number
  read(): NetlinkNews
  close(): void
}

let sequence = 0
const receiveBuffer = Buffer.alloc(RECEIVE_BYTES)
/** Counts requests that change something, for tests of idempotence. */
export const netlinkWrites = { count: 0 }
/** Sends one request and waits for its acknowledgement. Throws KernelError with the errno as code. */
export function sendNetlink(request: NetlinkRequest): void {
  netlinkWrites.count++
  exchange({ ...request, flags: request.flags | NLM_F.ACK }, copy)
}

/**
 * As `sendNetlink`, without holding the event loop while the kernel works on it: some changes wait for
 * every processor to have passed a quiet moment, tens of milliseconds. It is sent once `turn` has
 * resolved, in the namespace of the calling moment all the same.
 */
export async function sendNetlinkAside(
  request: NetlinkRequest,
  turn: Promise<unknown>,
): Promise<void> {
  netlinkWrites.count++
  const fd = openSocket(request.protocol, SOCK_RAW_CLOEXEC)
  try {
    await turn
    const own = (sequence = (sequence + 1) >>> 0)
    const message = composeMessage({ ...request, flags: request.flags | NLM_F.ACK }, own)
    const sent = await libc.sendAside(fd, message, message.length, 0)
    if (sent < 0) throw new KernelError('EIO', `Cannot ${request.attempt}: netlink took no request`)
    collect(fd, own, request.attempt, copy)
  } finally {
    closeSync(fd)
  }
}

/**
 * Sends many requests of one protocol through one socket, each on its own: one that is refused stops
 * none of the others. Returns what was refused, by the place of its request.
 */
export function sendNetlinkEach(
  requests: readonly NetlinkRequest[],
): ReadonlyMap<number, KernelError> {
  const refusals = new Map<number, KernelError>()
  const [first] = requests
  if (first === undefined) return refusals
  netlinkWrites.count += requests.length
  const fd = openSocket(first.protocol, SOCK_RAW_CLOEXEC)
  try {
    for (let at = 0; at < requests.length; at += BATCH) {
      const batch = requests.slice(at, at + BATCH)
      for (const [place, error] of exchangeBatch(fd, batch)) refusals.set(at + place, error)
    }
  } finally {
    closeSync(fd)
  }
  return refusals
}

/** Sends one request and returns its reply. Throws KernelError with the errno as code. */
export function getNetlink(request: NetlinkRequest): readonly NetlinkMessage[] {
  return exchange({ ...request, flags: request.flags | NLM_F.ACK }, copy).kept
}

/** Reads a whole table. Throws KernelError with the errno as code. */
export function dumpNetlink(request: Omit<NetlinkRequest, 'flags'>): readonly NetlinkMessage[] {
  return readNetlink(request, copy)
}

/**
 * Reads a whole table through `read`, keeping what it makes of each entry; undefined is left out. For
 * tables of many thousand entries: the payload is the buffer that everything is received in, so `read`
 * must neither keep it nor talk to the kernel. Throws KernelError with the errno as code.
 */
export function readNetlink<T>(
  request: Omit<NetlinkRequest, 'flags'>,
  read: (message: NetlinkMessage) => T | undefined,
): readonly T[] {
  for (let tries = 1; ; tries++) {
    const { kept, isInterrupted } = exchange({ ...request, flags: NLM_F.DUMP }, read)
    if (!isInterrupted || tries === DUMP_TRIES) return kept
  }
}

/** `receiveBytes` of news wait for a reader; the kernel's default holds some hundred. */
export function openNetlinkMonitor(
  protocol: number,
  groups: readonly number[],
  receiveBytes?: number,
): NetlinkMonitor {
  const fd = openSocket(protocol, SOCK_RAW_NONBLOCK_CLOEXEC)
  if (receiveBytes !== undefined) {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(receiveBytes)
    // Without the right to it the default has to do: an overrun is told.
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes, bytes.length)
  }
  // A socket without a port of its own is passed over as if it were the sender.
  const anyPort = Buffer.alloc(12)
  anyPort.writeUInt16LE(AF_NETLINK)
  check(libc.bind(fd, anyPort, anyPort.length), 'bind a netlink socket')
  for (const group of groups) {
    const value = Buffer.alloc(4)
    value.writeUInt32LE(group)
    const result = libc.setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, value, 4)
    check(result, `listen for changes of netlink group ${group}`)
  }
  return {
    fd,
    read: () => drain(fd),
    close: () => closeSync(fd),
  }
}

function drain(fd: number): NetlinkNews {
  const messages: NetlinkMessage[] = []
  let overrun = false
  // Bounded: a storm of changes must not hold the event loop.
  for (let i = 0; i < 64; i++) {
    const length = receive(fd)
    if (length === undefined) break
    if (length < 0) overrun = true
    else for (const message of split(length)) messages.push(copy(message))
  }
  return { messages, overrun }
}

/** Bytes received; undefined where nothing is queued; -1 where messages were lost. */
function receive(fd: number): number | undefined {
  const result = libc.recvfrom(
    fd,
    receiveBuffer,
    receiveBuffer.length,
    MSG_TRUNC,
    Buffer.alloc(12),
    [12],
  )
  if (result >= 0) return Math.min(result, receiveBuffer.length)
  return errnoName(koffi.errno()) === 'ENOBUFS' ? -1 : undefined
}

interface Reply<T> {
  readonly kept: readonly T[]
  readonly isInterrupted: boolean
}

type Read<T> = (message: NetlinkMessage) => T | undefined

/** The buffer is reused by the next request. */
function copy({ type, payload }: NetlinkMessage): NetlinkMessage {
  return { type, payload: Buffer.from(payload) }
}

function exchange<T>(request: NetlinkRequest, read: Read<T>): Reply<T> {
  const fd = openSocket(request.protocol, SOCK_RAW_CLOEXEC)
  try {
    const own = (sequence = (sequence + 1) >>> 0)
    const message = composeMessage(request, own)
    check(libc.send(fd, message, message.length, 0), request.attempt)
    return collect(fd, own, request.attempt, read)
  } finally {
    closeSync(fd)
  }
}

function exchangeBatch(
  fd: number,
  requests: readonly NetlinkRequest[],
): readonly (readonly [number, KernelError])[] {
  const places = new Map<number, number>()
  const messages = requests.map((request, place) => {
    sequence = (sequence + 1) >>> 0
    places.set(sequence, place)
    // The kernel takes them in turn and tells of refusals unasked: one word at the end will do.
    const flags = request.flags | (place === requests.length - 1 ? NLM_F.ACK : 0)
    const message = composeMessage({ ...request, flags }, sequence)
    return Buffer.concat([message, Buffer.alloc(-message.length & 3)])
  })
  const last = requests[requests.length - 1]
  if (last === undefined) return []
  const bytes = Buffer.concat(messages)
  check(libc.send(fd, bytes, bytes.length, 0), last.attempt)
  const refusals: (readonly [number, KernelError])[] = []
  for (;;) {
    let isOver = false
    for (const message of split(receiveReply(fd, last.attempt))) {
      const place = places.get(message.sequence)
      if (place === undefined || message.type !== NLMSG_ERROR) continue
      isOver ||= place === requests.length - 1
      const errno = -message.payload.readInt32LE(0)
      const attempt = requests[place]?.attempt ?? last.attempt
      if (errno !== 0) {
        refusals.push([place, refusal(errno, message.payload, message.flags, attempt)])
      }
    }
    if (isOver) return refusals
  }
}

/** The bytes of the next datagram of the kernel; those of others are passed over. */
function receiveReply(fd: number, attempt: string): number {
  for (;;) {
    const sender = Buffer.alloc(12)
    const length = check(
      libc.recvfrom(fd, receiveBuffer, receiveBuffer.length, MSG_TRUNC, sender, [sender.length]),
      attempt,
    )
    if (length > receiveBuffer.length) {
      throw new KernelError('EMSGSIZE', `Cannot ${attempt}: a reply of ${length} bytes is too long`)
    }
    // Any process may send to our port; only the kernel has port 0.
    if (sender.readUInt32LE(4) === 0) return length
  }
}

function collect<T>(fd: number, own: number, attempt: string, read: Read<T>): Reply<T> {
  const kept: T[] = []
  let isInterrupted = false
  for (;;) {
    for (const { type, flags, sequence: number, payload } of split(receiveReply(fd, attempt))) {
      if (number !== own) continue
      isInterrupted ||= (flags & NLM_F_DUMP_INTR) !== 0
      if (type === NLMSG_DONE) return { kept, isInterrupted }
      if (type !== NLMSG_ERROR) {
        const made = read({ type, payload })
        if (made !== undefined) kept.push(made)
        continue
      }
      const errno = -payload.readInt32LE(0)
      if (errno === 0) return { kept, isInterrupted }
      throw refusal(errno, payload, flags, attempt)
    }
  }
}

function* split(length: number): Generator<NetlinkMessage & { flags: number; sequence: number }> {
  let at = 0
  while (at + HEADER_BYTES <= length) {
    const size = receiveBuffer.readUInt32LE(at)
    if (size < HEADER_BYTES || at + size > length) return
    yield {
      type: receiveBuffer.readUInt16LE(at + 4),
      flags: receiveBuffer.readUInt16LE(at + 6),
      sequence: receiveBuffer.readUInt32LE(at + 8),
      payload: receiveBuffer.subarray(at + HEADER_BYTES, at + size),
    }
    at += (size + 3) & ~3
  }
}

/** The errno, and the kernel's own words where it has some (NETLINK_EXT_ACK). */
function refusal(errno: number, payload: Buffer, flags: number, attempt: string): KernelError {
  const code = errnoName(errno)
  const words = extendedText(payload, flags)
  const advice = code === 'EPERM' ? '; run it as root' : ''
  const what = words === undefined ? code : `${code} (${words})`
  return new KernelError(code, `Cannot ${attempt}: the kernel says ${what}${advice}`)
}

function extendedText(payload: Buffer, flags: number): string | undefined {
  if ((flags & NLM_F_ACK_TLVS) === 0 || payload.length < 20) return undefined
  const echoed = (flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : payload.readUInt32LE(4)
  const attributes = parseAttributes(payload.subarray(4 + ((echoed + 3) & ~3)))
  return attributes.get(NLMSGERR_ATTR_MSG)?.toString('utf8').replace(/\0+$/, '')
}

function composeMessage(request: NetlinkRequest, own: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32LE(HEADER_BYTES + request.payload.length, 0)
  header.writeUInt16LE(request.type, 4)
  header.writeUInt16LE(request.flags | NLM_F.REQUEST, 6)
  header.writeUInt32LE(own, 8)
  return Buffer.concat([header, request.payload])
}

function openSocket(protocol: number, type: number): number {
  const fd = check(libc.socket(AF_NETLINK, type, protocol), 'open a netlink socket')
  const one = Buffer.from([1, 0, 0, 0])
  libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, one, 4)
  return fd
}
