/** Checks of the addresses in a file, as sentences; undefined where there is nothing to say. */

import {
  formatAddress,
  formatPrefix,
  lastAddress,
  parseAddress,
  parsePrefix,
  type Address,
  type Family,
  type Prefix,
} from '../../base/ip.js'
import { shorten } from './name.js'

/** A parsed value, or why there is none. */
export type Checked<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'problem'; readonly message: string }

/** The address that `text` writes; of `family` where one is given. */
export function checkAddress(text: string, family?: Family): Checked<Address> {
  const what = family === undefined ? 'an IPv4 or IPv6' : `an IPv${family}`
  const message = `"${shorten(text)}" is not ${what} address`
  try {
    const value = parseAddress(text)
    const fits = family === undefined || value.family === family
    return fits ? { kind: 'value', value } : { kind: 'problem', message }
  } catch {
    return { kind: 'problem', message }
  }
}

/** The prefix that `text` writes; one with host bits is refused, as Docker does. */
export function checkPrefix(text: string): Checked<Prefix> {
  let value: Prefix
  try {
    value = parsePrefix(text)
  } catch {
    const message = `"${shorten(text)}" is not a subnet; write it as ADDRESS/LENGTH, such as 10.0.1.0/24`
    return { kind: 'problem', message }
  }
  const written = checkAddress(text.slice(0, text.indexOf('/')))
  if (written.kind === 'value' && written.value.value !== value.base) {
    const message = `"${text}" is not the start of a subnet; write it as ${formatPrefix(value)}`
    return { kind: 'problem', message }
  }
  return { kind: 'value', value }
}

/** Why nobody can have `address` in `subnet`: its first, and for IPv4 its last one, are not for hosts. */
export function hostAddressProblem(address: Address, subnet: Prefix): string | undefined {
  const isSmall = subnet.length >= (subnet.family === 4 ? 31 : 127)
  if (isSmall) return undefined
  const text = formatAddress(address)
  if (address.value === subnet.base) {
    return `"${text}" is the first address of ${formatPrefix(subnet)}, which names the subnet itself`
  }
  if (subnet.family === 4 && address.value === lastAddress(subnet).value) {
    return `"${text}" is the last address of ${formatPrefix(subnet)}, which is for broadcast`
  }
  return undefined
}

/** Lower case pairs with colons; undefined where `text` is not the address of one interface. */
export function normaliseMac(text: string): string | undefined {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) return undefined
  const mac = text.toLowerCase().replaceAll('-', ':')
  const isGroup = (parseInt(mac.slice(0, 2), 16) & 1) === 1
  return isGroup || mac === '00:00:00:00:00:00' ? undefined : mac
}
