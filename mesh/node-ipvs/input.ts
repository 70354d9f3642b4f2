/** Refuses bad input before anything is sent, with IpvsError `IPVS_BAD_INPUT` that names it. Pure. */
import { badInput } from './error.js'
import { parseAddress, type Address } from './wire/address.js'

/** Linux: IP_VS_SCHEDNAME_MAXLEN, IP_VS_PENAME_MAXLEN and IP_VS_IFNAME_MAXLEN, without the NUL. */
const NAME_BYTES = 15
export const MOST_U32 = 0xffff_ffff
export const MOST_PORT = 0xffff

/** A whole number between `least` and `most`. */
export function checkNumber(value: number, input: string, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw badInput(`The ${input} ${String(value)} is no whole number from ${least} to ${most}`)
}

/** What the kernel keeps in 16 bytes with a NUL: a scheduler, a persistence engine, a link. */
export function checkName(value: string, input: string): string {
  const isName = typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
  if (isName && value.length <= NAME_BYTES) return value
  throw badInput(`The ${input} "${value}" is no name of 1 to ${NAME_BYTES} characters`)
}

/** One of `choices`. */
export function checkChoice<T extends string | number>(
  value: T,
  input: string,
  choices: readonly T[],
): T {
  if (choices.includes(value)) return value
  throw badInput(`The ${input} "${String(value)}" is none of ${choices.join(', ')}`)
}

/** Some of `choices`, each once, in the order of `choices`. */
export function checkChoices<T extends string>(
  values: readonly T[],
  input: string,
  choices: readonly T[],
): readonly T[] {
  for (const value of values) checkChoice(value, input, choices)
  return choices.filter(choice => values.includes(choice))
}

export function checkAddress(value: string, input: string): Address {
  if (typeof value !== 'string') throw badInput(`The ${input} ${String(value)} is no text`)
  return parseAddress(value, input)
}
