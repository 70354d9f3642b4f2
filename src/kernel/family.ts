/** Address families by the kernel's numbers (include/linux/socket.h). Pure. */
import type { Family } from '../base/ip.js'

const AF_INET = 2
const AF_INET6 = 10

/** AF_INET or AF_INET6. */
export function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6
}

/** Undefined for a family that is not IP. */
export function familyOf(number: number | undefined): Family | undefined {
  if (number === AF_INET) return 4
  return number === AF_INET6 ? 6 : undefined
}
