/**
 * A generic netlink socket that is asked synchronously. The kernel works on a request before send
 * returns, so answers are there at once (netlink(7)) and no event loop is needed. The socket stays in
 * the network namespace that it was made in.
 *
 * No answer is waited for without end, and none is taken from anybody but the kernel. Requests go out
 * in bursts whose answers fit the receive buffer. Where one is lost all the same, the socket is brought
 * back in step before it is used again.
 */
import { closeSync } from 'node:fs'
import { badReply, IpvsError } from './error.js'
import { check, lastErrno, libc, LONG_BYTES } from './libc.js'
import { Reading } from './reading.js'
import { loseReply, refuse, type Loss, type Subject } from './refusal.js'
import {
  composeRequest,
  NLM_F,
  NLMSG,
  parseVerdict,
  splitMessages,
  type Message,
  type Request,
  type Verdict,
} from './wire/message.js'

export interface SocketOptions {
  /** Default: the system's, some 200 KiB. The kernel's least is some 2 KiB. */
  readonly receiveBufferBytes?: number | undefined
  /** How long one answer may take. Default 5000. */
  readonly timeoutMs?: number | undefined
  /** How many requests go out at once. Default: as many as the receive buffer has room for answers to. */
  readonly burst?: number | undefined
}

/** What became of a change. */
export type Answer =
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
  | { readonly kind: 'lost'; readonly loss: Loss }
  /** Held back, for the kernel stopped answering. */
  | { readonly kind: 'unsent' }

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0x8_0000
const NETLINK_GENERIC = 16
const SOCKADDR_BYTES = 12
const SOL_NETLINK = 270
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVTIMEO = 20
const SO_RCVBUFFORCE = 33
const MSG_DONTWAIT = 0x40
const MSG_TRUNC = 0x20
/** The kernel fills dumps up to 32 KiB a datagram (af_netlink.c, netlink_dump). */
const DATAGRAM_BYTES = 1 << 16
/** What an acknowledgement costs the receive buffer at most, with the kernel's bookkeeping. */
const ACK_COST_BYTES = 1280
const MOST_BURST = 256
const MOST_BURST_BYTES = 1 << 16
/** A read whose answer was lost, or that changed under the reader, is asked again so often. */
const READ_TRIES = 4
/** ENOBUFS and EBUSY: a dump met a full queue, or one that did is still under way. */
const UNFINISHED: readonly number[] = [105, 16]
const DEFAULT_TIMEOUT_MS = 5000

type Received =
  | { readonly kind: 'messages'; readonly messages: readonly Message[] }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'again' }
  | { readonly kind: 'overrun' }

export class GenericSocket {
  readonly #fd: number
  readonly #timeoutMs: number
  readonly #burst: number
  readonly #datagram = Buffer.allocUnsafeSlow(DATAGRAM_BYTES)
  readonly #sender = Buffer.alloc(SOCKADDR_BYTES)
  #sequence = 0
  #isInStep = true
  #isClosed = false

  /** In the calling thread's network namespace. Throws IpvsError with the errno as code. */
  constructor(options: SocketOptions = {}) {
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
    this.#fd = check(libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_GENERIC), 'open netlink')
    try {
      this.#setUp(options.receiveBufferBytes)
      this.#burst = options.burst ?? Math.max(1, Math.min(MOST_BURST, this.#roomForAcks()))
    } catch (error) {
      closeSync(this.#fd)
      throw error
    }
  }

  /** Sends changes in order; each gets its answer. A refused one does not keep the later ones back. */
  change(requests: readonly Request[]): readonly Answer[] {
    const answers: Answer[] = []
    while (answers.length < requests.length) {
      const burst = this.#changeBurst(requests.slice(answers.length))
      answers.push(...burst)
      // To wait again for each that is left could take hours.
      const isSilent = burst.some(one => one.kind === 'lost' && one.loss === 'ETIMEDOUT')
      if (isSilent) break
    }
    return requests.map((_, i) => answers[i] ?? { kind: 'unsent' })
  }

  /** The one reply to a question. Throws IpvsError with the errno as code. */
  get(request: Request, subject: Subject): Buffer {
    const [reply] = this.#read(request, false, subject)
    if (reply === undefined) throw badReply('The kernel acknowledges a question without a reply')
    return reply
  }

  /** Every entry of a table. Throws IpvsError with the errno as code. */
  dump(request: Request, subject: Subject): readonly Buffer[] {
    return this.#read(request, true, subject)
  }

  /** Closing again does nothing. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    closeSync(this.#fd)
  }

  #read(request: Request, isDump: boolean, subject: Subject): readonly Buffer[] {
    for (let tries = 1; ; tries++) {
      const isLast = tries === READ_TRIES
      const sequence = this.#nextSequence()
      const reading = new Reading(sequence, isDump)
      const loss = this.#converse(
        composeRequest(request, isDump ? NLM_F.DUMP : 0, sequence),
        message => reading.take(message),
        () => reading.verdict !== undefined,
      )
      const { verdict, entries, isTorn } = reading
      if (verdict === undefined) {
        if (isLast || loss === 'ETIMEDOUT') throw loseReply(subject, loss ?? 'ETIMEDOUT')
      } else if (verdict.errno === 0) {
        if (isLast || !isTorn) return entries
      } else {
        if (isLast || !UNFINISHED.includes(verdict.errno)) throw refuse(subject, verdict)
        this.#isInStep = false
      }
    }
  }

  #changeBurst(requests: readonly Request[]): readonly Answer[] {
    const first = this.#nextSequence()
    const messages: Buffer[] = []
    let bytes = 0
    for (const request of requests.slice(0, this.#burst)) {
      const message = composeRequest(request, NLM_F.ACK, first + messages.length)
      bytes += message.length
      if (messages.length > 0 && bytes > MOST_BURST_BYTES) break
      messages.push(message)
    }
    this.#sequence += messages.length - 1
    const answers = new Map<number, Answer>()
    const loss = this.#converse(
      Buffer.concat(messages),
      message => {
        const at = message.sequence - first
        const isOwn = message.type === NLMSG.ERROR && at >= 0 && at < messages.length
        if (isOwn) answers.set(at, { kind: 'verdict', verdict: parseVerdict(message) })
      },
      () => answers.size === messages.length,
    )
    const lost: Answer = { kind: 'lost', loss: loss ?? 'ENOBUFS' }
    return messages.map((_, i) => answers.get(i) ?? lost)
  }

  /** Sends, and takes messages until `isDone`. Says why where that does not come. */
  #converse(
    bytes: Buffer,
    take: (message: Message) => void,
    isDone: () => boolean,
  ): Loss | undefined {
    if (this.#isClosed) {
      throw new IpvsError(
        'IPVS_CLOSED',
        'Cannot ask the kernel: the client is closed; open another',
      )
    }
    if (!this.#isInStep) this.#comeIntoStep()
    // Until the last answer is in, whatever happens below leaves answers in the queue.
    this.#isInStep = false
    check(libc.send(this.#fd, bytes, bytes.length, 0), 'send to netlink')
    const deadline = performance.now() + this.#timeoutMs
    let isOverrun = false
    while (!isDone()) {
      const received = this.#receive(isOverrun ? MSG_DONTWAIT : 0)
      if (received.kind === 'messages') received.messages.forEach(take)
      // What was queued before the loss is good.
      if (received.kind === 'overrun') isOverrun = true
      if (received.kind === 'nothing') return isOverrun ? 'ENOBUFS' : 'ETIMEDOUT'
      if (!isDone() && performance.now() > deadline) return 'ETIMEDOUT'
    }
    this.#isInStep = !isOverrun
    return undefined
  }

  /**
   * Empties the queue. A dump that was left half way goes on only when something is received, so an
   * acknowledgement is asked for to push it: of a message that the kernel does nothing with.
   */
  #comeIntoStep(): void {
    const nothing: Request = { family: NLMSG.NOOP, command: 0, attributes: [] }
    this.#empty()
    const push = composeRequest(nothing, NLM_F.ACK, this.#nextSequence())
    check(libc.send(this.#fd, push, push.length, 0), 'send to netlink')
    this.#empty()
    this.#isInStep = true
  }

  #empty(): void {
    const deadline = performance.now() + this.#timeoutMs
    while (performance.now() < deadline) {
      if (this.#receive(MSG_DONTWAIT).kind === 'nothing') return
    }
  }

  #receive(flags: number): Received {
    const room = this.#datagram.length
    const how = flags | MSG_TRUNC
    const size = [SOCKADDR_BYTES]
    const length = libc.recvfrom(this.#fd, this.#datagram, room, how, this.#sender, size)
    if (length >= 0) return this.#take(length)
    const code = lastErrno()
    if (code === 'EAGAIN') return { kind: 'nothing' }
    if (code === 'EINTR') return { kind: 'again' }
    if (code === 'ENOBUFS') return { kind: 'overrun' }
    throw new IpvsError(code, `Cannot receive from netlink: the kernel says ${code}`)
  }

  #take(length: number): Received {
    // Any process may send to our port; only the kernel's own port is 0.
    if (this.#sender.readUInt32LE(4) !== 0) return { kind: 'again' }
    if (length > this.#datagram.length) {
      const sentence = `The reply has ${length} bytes, more than a netlink reply can have`
      throw new IpvsError('IPVS_BAD_REPLY', sentence)
    }
    return { kind: 'messages', messages: splitMessages(this.#datagram.subarray(0, length)) }
  }

  #nextSequence(): number {
    // Far from the end of 32 bits, so that a burst has consecutive numbers.
    if (this.#sequence > 0x7fff_0000) this.#sequence = 0
    return ++this.#sequence
  }

  #setUp(receiveBufferBytes: number | undefined): void {
    this.#set(SOL_NETLINK, NETLINK_CAP_ACK, u32(1))
    this.#set(SOL_NETLINK, NETLINK_EXT_ACK, u32(1))
    const timeout = Buffer.alloc(2 * LONG_BYTES)
    const ms = Math.max(1, Math.ceil(this.#timeoutMs))
    timeout.writeUInt32LE(Math.floor(ms / 1000), 0)
    timeout.writeUInt32LE((ms % 1000) * 1000, LONG_BYTES)
    check(this.#set(SOL_SOCKET, SO_RCVTIMEO, timeout), 'limit the wait for netlink')
    if (receiveBufferBytes !== undefined) {
      const size = u32(receiveBufferBytes)
      // Beyond the system's limit for whoever may.
      const isForced = this.#set(SOL_SOCKET, SO_RCVBUFFORCE, size) === 0
      if (!isForced) check(this.#set(SOL_SOCKET, SO_RCVBUF, size), 'size the netlink buffer')
    }
    const anyPort = Buffer.alloc(SOCKADDR_BYTES)
    anyPort.writeUInt16LE(AF_NETLINK)
    check(libc.bind(this.#fd, anyPort, anyPort.length), 'bind netlink')
  }

  #roomForAcks(): number {
    const value = Buffer.alloc(4)
    check(libc.getsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, value, [4]), 'size the netlink buffer')
    return Math.floor(value.readUInt32LE() / ACK_COST_BYTES)
  }

  #set(level: number, name: number, value: Buffer): number {
    return libc.setsockopt(this.#fd, level, name, value, value.length)
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
