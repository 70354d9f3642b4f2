/**
 * The marks by which IPVS knows a service in its namespace. UDP has one of its own, as flows of a
 * destination that leaves move at once, and connections stay until they end. Pure.
 */

import { serviceMark } from '../../marks.js'
import type { Protocol } from '../../state.js'

const UDP_BIT = 0x0010_0000

/** The packet mark of one protocol of a service, `VirtualService.mark`. */
export function transportMark(mark: number, protocol: Protocol): number {
  return protocol === 'udp' ? serviceMark(mark) | UDP_BIT : serviceMark(mark)
}

/** Whether it marks datagrams, whose destinations go at once. */
export function isUdpMark(mark: number): boolean {
  return (mark & UDP_BIT) !== 0
}
