/** Netlink messages and the generic netlink header: composed, split and read (netlink(7)). */
import { badReply } from '../error.js'
import { align, attribute, parseAttributes } from './attribute.js'

/** Linux: include/uapi/linux/netlink.h. */
export const NLM_F = { REQUEST: 0x1, MULTI: 0x2, ACK: 0x4, DUMP_INTR: 0x10, DUMP: 0x300 } as const
/** Types below 16 are netlink's own. */
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4, FIRST_OF_FAMILIES: 16 } as const

const HEADER_BYTES = 16
const GENERIC_HEADER_BYTES = 4
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLMSGERR_ATTR_MSG = 1

/** include/uapi/linux/genetlink.h: the family that knows the others. */
const CONTROLLER = { family: 16, GETFAMILY: 3, FAMILY_ID: 1, FAMILY_NAME: 2 } as const

/** A generic netlink request, still without sequence number. */
export interface Request {
  /** Id of the family. */
  readonly family: number
  readonly command: number
  readonly attributes: readonly Buffer[]
}

export interface Message {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  /** After the netlink header. */
  readonly payload: Buffer
}

/** What an NLMSG_ERROR or the end of a dump says. Errno 0 is an acknowledgement. */
export interface Verdict {
  readonly errno: number
  readonly words: string | undefined
}

/** One message, padded, so that messages can be joined. */
export function composeRequest(request: Request, flags: number, sequence: number): Buffer {
  const body = request.attributes.reduce((total, one) => total + one.length, 0)
  const length = HEADER_BYTES + GENERIC_HEADER_BYTES + body
  const message = Buffer.allocUnsafe(align(length)).fill(0)
  message.writeUInt32LE(length, 0)
  message.writeUInt16LE(request.family, 4)
  message.writeUInt16LE(flags | NLM_F.REQUEST, 6)
  message.writeUInt32LE(sequence, 8)
  message.writeUInt8(request.command, HEADER_BYTES)
  // Version 1 of every family we speak to.
  message.writeUInt8(1, HEADER_BYTES + 1)
  let at = HEADER_BYTES + GENERIC_HEADER_BYTES
  for (const one of request.attributes) at += one.copy(message, at)
  return message
}

/** The messages of one datagram, copied out of it. Throws IpvsError `IPVS_BAD_REPLY`. */
export function splitMessages(datagram: Buffer): readonly Message[] {
  const messages: Message[] = []
  let at = 0
  while (at + HEADER_BYTES <= datagram.length) {
    const length = datagram.readUInt32LE(at)
    if (length < HEADER_BYTES || length > datagram.length - at) {
      throw badReply(`The reply has a message of ${length} bytes where ${datagram.length - at} are`)
    }
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      payload: Buffer.from(datagram.subarray(at + HEADER_BYTES, at + length)),
    })
    at += align(length)
  }
  return messages
}

/** Reads an NLMSG_ERROR. Throws IpvsError `IPVS_BAD_REPLY`. */
export function parseVerdict({ flags, payload }: Message): Verdict {
  if (payload.length < 4) throw badReply(`The reply has an error of ${payload.length} bytes`)
  return { errno: -payload.readInt32LE(0), words: parseWords(flags, payload) }
}

/** Reads an NLMSG_DONE, which carries an error where a dump failed half way. */
export function parseEnd({ payload }: Message): Verdict {
  return { errno: payload.length < 4 ? 0 : -payload.readInt32LE(0), words: undefined }
}

/** The command and attributes of a generic netlink message. */
export function parseGeneric(payload: Buffer): { command: number; attributes: Buffer } {
  if (payload.length < GENERIC_HEADER_BYTES) {
    throw badReply(`The reply has a message of ${payload.length} bytes after its header`)
  }
  return { command: payload.readUInt8(0), attributes: payload.subarray(GENERIC_HEADER_BYTES) }
}

/** Asks for the id of the family called `name`. */
export function composeFamilyQuestion(name: string): Request {
  return {
    family: CONTROLLER.family,
    command: CONTROLLER.GETFAMILY,
    attributes: [attribute(CONTROLLER.FAMILY_NAME, Buffer.from(`${name}\0`))],
  }
}

/** The family's id: never one of netlink's own types, which the kernel acknowledges and ignores. */
export function parseFamilyId(payload: Buffer): number {
  const attributes = parseAttributes(parseGeneric(payload).attributes)
  const id = attributes.get(CONTROLLER.FAMILY_ID)
  const number = id === undefined || id.length < 2 ? 0 : id.readUInt16LE()
  if (number < NLMSG.FIRST_OF_FAMILIES) throw badReply(`The reply gives a family the id ${number}`)
  return number
}

/** The text of an extended acknowledgement, after the request that it may echo. */
function parseWords(flags: number, payload: Buffer): string | undefined {
  const header = 4 + HEADER_BYTES
  if ((flags & NLM_F_ACK_TLVS) === 0 || payload.length < header) return undefined
  const echoed = (flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : payload.readUInt32LE(4)
  if (echoed > payload.length) throw badReply(`The reply echoes ${echoed} bytes that it has not`)
  const words = parseAttributes(payload.subarray(4 + align(echoed))).get(NLMSGERR_ATTR_MSG)
  return words?.toString('utf8').replace(/\0+$/, '')
}
