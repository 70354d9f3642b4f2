/** How old the kernel is, for what no question to it tells. */

import { release } from 'node:os'

/** Whether this kernel, or one called `name`, is Linux `major`.`minor` or later. */
export function isLinuxAtLeast(major: number, minor: number, name: string = release()): boolean {
  const [itsMajor = 0, itsMinor = 0] = name.split('.').map(part => parseInt(part, 10))
  return itsMajor > major || (itsMajor === major && itsMinor >= minor)
}
