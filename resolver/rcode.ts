/** Response codes (RFC 6895 §2.3) and extended DNS errors (RFC 8914 §4). */

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  YXRRSET: 7,
  NXRRSET: 8,
  NOTAUTH: 9,
  NOTZONE: 10,
  BADVERS: 16,
  BADKEY: 17,
  BADTIME: 18,
  BADCOOKIE: 23,
} as const

/** INFO-CODEs of RFC 8914 §4 and the IANA registry that our replies carry. */
export const EDE = {
  OTHER: 0,
  STALE_ANSWER: 3,
  PROHIBITED: 18,
  NOT_SUPPORTED: 21,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
} as const

/** One extended error: why, for people and logs. `text` is ASCII and short. */
export interface ExtendedError {
  readonly code: number
  readonly text: string
}

const rcodeNames = new Map<number, string>(
  Object.entries(RCODE).map(([name, code]) => [code, name]),
)

/** `NXDOMAIN`, or `RCODE12`. */
export function formatRcode(rcode: number): string {
  return rcodeNames.get(rcode) ?? `RCODE${rcode}`
}
