/** Numbers and mnemonics of record types and classes (IANA DNS parameters). */

/** Record types this library names; others are written `TYPE999` (RFC 3597 §5). */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  RP: 17,
  AFSDB: 18,
  SIG: 24,
  KEY: 25,
  AAAA: 28,
  LOC: 29,
  SRV: 33,
  NAPTR: 35,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  TLSA: 52,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  TKEY: 249,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  URI: 256,
  CAA: 257,
} as const

/** Classes (RFC 1035 §3.2.4, RFC 2136 §1.3). */
export const CLASS = { IN: 1, CH: 3, HS: 4, NONE: 254, ANY: 255 } as const

const typeNames = new Map<number, string>(Object.entries(TYPE).map(([name, type]) => [type, name]))
const typeNumbers = new Map<string, number>(Object.entries(TYPE))
const classNames = new Map<number, string>(Object.entries(CLASS).map(([name, cls]) => [cls, name]))

/** `A`, `HTTPS`, or `TYPE999`. */
export function formatType(type: number): string {
  return typeNames.get(type) ?? `TYPE${type}`
}

/** The number of `A`, `aaaa` or `TYPE999`; undefined for anything else. */
export function parseType(text: string): number | undefined {
  const upper = text.toUpperCase()
  const known = typeNumbers.get(upper)
  if (known !== undefined) return known
  const match = /^TYPE(\d{1,5})$/.exec(upper)
  const type = Number(match?.[1])
  return match !== null && type <= 0xffff ? type : undefined
}

/** `IN`, or `CLASS17`. */
export function formatClass(cls: number): string {
  return classNames.get(cls) ?? `CLASS${cls}`
}
