/**
 * One datagram in or out with everything that belongs to it: where it came from, and which of our
 * addresses it was sent to, for a reply must come from that one (ip(7) IP_PKTINFO, ipv6(7)).
 */

import { CONTROL, DATA, DATA_BYTES, MESSAGE, NAME, VECTOR } from './block.js'
import { calls } from './libc.js'
import { readClient } from './socket.js'
import type { Family } from '../../../src/base/ip.js'
import type { Block } from './block.js'
import type { Client } from './socket.js'

const MSG_DONTWAIT = 0x40
const NAME_ROOM = 28
const CONTROL_ROOM = 128
/** struct cmsghdr, and the payloads' lengths: struct in_pktinfo, struct in6_pktinfo. */
const HEAD = 16
const INFO_BYTES = { 4: 12, 6: 20 } as const
const INFO_LEVEL = { 4: 0, 6: 41 } as const
const INFO_TYPE = { 4: 8, 6: 50 } as const

/** Who to answer, and as whom: kept for as long as the client's flow. */
export interface ReplyWay {
  readonly client: Client
  /** The client's key and port and our address: what a flow is known by. */
  readonly key: string
  readonly name: Buffer
  readonly control: Buffer
  /** Our address that the client sent to. */
  readonly local: string
}

/** Receives into the block's DATA; returns the length, negative where nothing waits. */
export function receiveFrom(block: Block, fd: number): number {
  writeMessage(block, NAME_ROOM, CONTROL_ROOM, DATA_BYTES)
  return calls.recvmsg(fd, block.address + MESSAGE, MSG_DONTWAIT)
}

/** The way of the datagram that was just received. */
export function readWay({ bytes }: Block, family: Family): string {
  const name =
    family === 4
      ? bytes.toString('latin1', NAME + 2, NAME + 8)
      : bytes.toString('latin1', NAME + 2, NAME + 28)
  const info = CONTROL + HEAD
  return (
    name +
    (family === 4
      ? bytes.toString('latin1', info + 4, info + 8)
      : bytes.toString('latin1', info, info + 16))
  )
}

/** As `readWay`, to be kept. */
export function keepWay(block: Block, family: Family, key: string): ReplyWay {
  const { bytes } = block
  const info = CONTROL + HEAD
  const length = HEAD + INFO_BYTES[family]
  const control = Buffer.alloc(family === 4 ? 32 : 40)
  control.writeBigUInt64LE(BigInt(length), 0)
  control.writeInt32LE(INFO_LEVEL[family], 8)
  control.writeInt32LE(INFO_TYPE[family], 12)
  if (family === 4) {
    // ipi_spec_dst is the source of what goes out; the route decides on the link.
    bytes.copy(control, HEAD + 4, info + 4, info + 8)
  } else {
    bytes.copy(control, HEAD, info, info + 16)
    // fe80::/10 means nothing without its link.
    const isLinkLocal = bytes[info] === 0xfe && ((bytes[info + 1] ?? 0) & 0xc0) === 0x80
    if (isLinkLocal) bytes.copy(control, HEAD + 16, info + 16, info + 20)
  }
  const nameBytes = family === 4 ? 16 : NAME_ROOM
  return {
    client: readClient(block),
    key,
    name: Buffer.from(bytes.subarray(NAME, NAME + nameBytes)),
    control,
    local: family === 4 ? control.toString('latin1', 20, 24) : control.toString('latin1', 16, 32),
  }
}

/** Sends the first `length` bytes of the block's DATA the way back. */
export function sendBack(block: Block, fd: number, way: ReplyWay, length: number): number {
  way.name.copy(block.bytes, NAME)
  way.control.copy(block.bytes, CONTROL)
  writeMessage(block, way.name.length, way.control.length, length)
  return calls.sendmsg(fd, block.address + MESSAGE, MSG_DONTWAIT)
}

/** struct msghdr with one struct iovec, 64-bit layout (include/linux/socket.h). */
function writeMessage(
  { bytes, address }: Block,
  nameLength: number,
  controlLength: number,
  dataLength: number,
): void {
  writePointer(bytes, MESSAGE, address + NAME)
  bytes.writeUInt32LE(nameLength, MESSAGE + 8)
  writePointer(bytes, MESSAGE + 16, address + VECTOR)
  writePointer(bytes, MESSAGE + 24, 1)
  writePointer(bytes, MESSAGE + 32, address + CONTROL)
  writePointer(bytes, MESSAGE + 40, controlLength)
  bytes.writeUInt32LE(0, MESSAGE + 48)
  writePointer(bytes, VECTOR, address + DATA)
  writePointer(bytes, VECTOR + 8, dataLength)
}

/** 64 bits without a BigInt: user space lies below 2^47. */
function writePointer(bytes: Buffer, offset: number, value: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, offset)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offset + 4)
}
