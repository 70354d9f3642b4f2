/**
 * Policy routing: which packets look into which routing table, in the namespace of the calling moment
 * (include/uapi/linux/fib_rules.h, ip-rule(8)).
 */
import { addressBytes, addressOfBytes, formatPrefix, parsePrefix, type Family } from '../base/ip.js'
import { attribute, parseAttributes } from './attribute.js'
import { ignoring } from './error.js'
import { familyNumber, familyOf } from './family.js'
import { NETLINK_ROUTE, NLM_F, readNetlink, sendNetlink } from './netlink.js'

const RTM = { NEWRULE: 32, DELRULE: 33, GETRULE: 34 } as const
const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  TABLE: 15,
  FWMASK: 16,
  PROTOCOL: 21,
} as const
const FR_ACT_TO_TBL = 1
/** struct fib_rule_hdr. */
const HEADER_BYTES = 12
const ALL_BITS = 0xffff_ffff

/** Packets that have everything a rule names look into `table`. */
export interface Rule {
  readonly family: Family
  /** Lower ones come first; 32766 is the main table's. */
  readonly priority: number
  readonly table: number
  /** Where `mark & mask` is `value`; the mask is all bits by default. */
  readonly mark?: { readonly value: number; readonly mask?: number } | undefined
  /** CIDR. */
  readonly source?: string | undefined
  readonly destination?: string | undefined
  readonly inputLink?: string | undefined
  /** Who made it (RTPROT, as in /etc/iproute2/rt_protos): 2 the kernel, 0 nobody said; ours to choose. */
  readonly protocol: number
}

/** Rules that look into a table, of both families, by priority within each. */
export function listRules(): readonly Rule[] {
  const payload = Buffer.alloc(HEADER_BYTES)
  const request = { protocol: NETLINK_ROUTE, type: RTM.GETRULE, payload, attempt: 'list rules' }
  return readNetlink(request, message =>
    message.type === RTM.NEWRULE ? parseRule(message.payload) : undefined,
  )
}

/** Adds a rule; returns false where it is there. Throws KernelError with the errno as code. */
export function addRule(rule: Rule): boolean {
  return ignoring('EEXIST', () => send(RTM.NEWRULE, NLM_F.CREATE | NLM_F.EXCL, rule, 'add'))
}

/** Removes a rule; returns false where there is none. Throws KernelError with the errno as code. */
export function removeRule(rule: Rule): boolean {
  return ignoring('ENOENT', () => send(RTM.DELRULE, 0, rule, 'remove'))
}

/**
 * Adds what is missing of `wanted`, then removes those that `isOurs` claims and nobody wants. Returns
 * how many rules it changed. Throws KernelError with the errno as code.
 */
export function reconcileRules(wanted: readonly Rule[], isOurs: (rule: Rule) => boolean): number {
  const present = listRules()
  const presentKeys = new Set(present.map(keyOf))
  const missing = wanted.filter(rule => !presentKeys.has(keyOf(rule)))
  const kept = new Set(wanted.map(keyOf))
  // One that is there twice stays once.
  const stale = present.filter(rule => isOurs(rule) && !kept.delete(keyOf(rule)))
  return missing.filter(addRule).length + stale.filter(removeRule).length
}

/** The rule of one message; undefined where it is cut, or does anything but look into a table. */
export function parseRule(payload: Buffer): Rule | undefined {
  const family = familyOf(payload[0])
  if (family === undefined || payload.length < HEADER_BYTES) return undefined
  if (payload.readUInt8(7) !== FR_ACT_TO_TBL) return undefined
  const attributes = parseAttributes(payload.subarray(HEADER_BYTES))
  const number = (type: number): number | undefined => {
    const bytes = attributes.get(type)
    return bytes === undefined || bytes.length < 4 ? undefined : bytes.readUInt32LE(0)
  }
  const prefix = (type: number, length: number): string | undefined => {
    const bytes = attributes.get(type)
    if (bytes?.length !== (family === 4 ? 4 : 16)) return undefined
    return formatPrefix({ family, base: addressOfBytes(bytes).value, length })
  }
  const value = number(FRA.FWMARK)
  return {
    family,
    // The kernel leaves out the 0 of the local table's rule.
    priority: number(FRA.PRIORITY) ?? 0,
    table: number(FRA.TABLE) ?? payload.readUInt8(4),
    mark: value === undefined ? undefined : { value, mask: number(FRA.FWMASK) ?? ALL_BITS },
    source: prefix(FRA.SRC, payload.readUInt8(2)),
    destination: prefix(FRA.DST, payload.readUInt8(1)),
    inputLink: attributes.get(FRA.IIFNAME)?.toString('utf8').replace(/\0.*$/s, ''),
    protocol: attributes.get(FRA.PROTOCOL)?.[0] ?? 0,
  }
}

function send(type: number, flags: number, rule: Rule, verb: string): void {
  const source = rule.source === undefined ? undefined : parsePrefix(rule.source)
  const destination = rule.destination === undefined ? undefined : parsePrefix(rule.destination)
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(familyNumber(rule.family), 0)
  header.writeUInt8(destination?.length ?? 0, 1)
  header.writeUInt8(source?.length ?? 0, 2)
  header.writeUInt8(FR_ACT_TO_TBL, 7)
  const { family, mark, inputLink } = rule
  const bytesOf = ({ base }: { base: bigint }): Uint8Array => addressBytes({ family, value: base })
  const payload = Buffer.concat([
    header,
    attribute(FRA.PRIORITY, rule.priority),
    attribute(FRA.TABLE, rule.table),
    attribute(FRA.PROTOCOL, Buffer.from([rule.protocol])),
    ...(source === undefined ? [] : [attribute(FRA.SRC, bytesOf(source))]),
    ...(destination === undefined ? [] : [attribute(FRA.DST, bytesOf(destination))]),
    ...(inputLink === undefined ? [] : [attribute(FRA.IIFNAME, inputLink)]),
    ...(mark === undefined
      ? []
      : [attribute(FRA.FWMARK, mark.value), attribute(FRA.FWMASK, mark.mask ?? ALL_BITS)]),
  ])
  const attempt = `${verb} the rule of priority ${rule.priority} for table ${rule.table}`
  sendNetlink({ protocol: NETLINK_ROUTE, type, flags, payload, attempt })
}

function keyOf(rule: Rule): string {
  const prefix = (text: string | undefined): string =>
    text === undefined ? '' : formatPrefix(parsePrefix(text))
  const { family, priority, table, mark, inputLink = '', protocol } = rule
  const marked = mark === undefined ? '' : `${mark.value >>> 0}/${(mark.mask ?? ALL_BITS) >>> 0}`
  const ends = `${prefix(rule.source)} ${prefix(rule.destination)}`
  return [family, priority, table, protocol, marked, inputLink, ends].join(' ')
}
