/** The way of a new connection, read from the kernel. Acts on the namespace of the calling moment. */

import { dumpElements } from '../../../src/kernel/nft-dump.js'
import { serviceMark } from '../../marks.js'
import { describeDrawChain } from '../../nft/draw.js'
import { parseElements } from '../../nft/listing.js'
import type { Element, TableProgram } from '../../nft/program.js'
import type { VirtualService } from '../../state.js'
import type { Hop } from '../dataplane.js'

/** What the table `program.name` does with connections to `service` now. */
export function describeWay(program: TableProgram, service: VirtualService): readonly Hop[] {
  const mark = String(serviceMark(service.mark))
  const where = (map: string): string => `nftables, table inet ${program.name}, map ${map}`
  const read = (map: string, isWanted: (one: Element) => boolean): Element[] =>
    program.collections
      .filter(one => one.name === map)
      .flatMap(one => parseElements(one, dumpElements(program.name, map)))
      .filter(isWanted)
  const ports = ['ports4', 'ports6', 'ports', 'ranges4', 'ranges6', 'ranges'].flatMap(map =>
    read(map, ({ data }) => data === mark).map(({ key }): Hop => ({
      where: where(map),
      what: `${describePort(key)} is service ${service.name}`,
    })),
  )
  if (ports.length === 0) {
    return [{ where: where('ports'), what: `no port leads to service ${service.name}` }]
  }
  return [...ports, ...([4, 6] as const).flatMap(family => describeDraw(family))]

  function describeDraw(family: 4 | 6): Hop[] {
    const pick = read(`picks${family}`, ({ key }) => key === mark)[0]
    if (pick === undefined) {
      const what = `nobody takes IPv${family} connections: refused at once`
      return [{ where: where(`picks${family}`), what }]
    }
    const slots = read(`slots${family}`, ({ key }) => key.startsWith(`${mark} . `))
    const counts = new Map<string, number>()
    for (const { data } of slots) counts.set(data, (counts.get(data) ?? 0) + 1)
    const shares = [...counts].map(([address, count]) => {
      const id = service.destinations.find(one => one.ipv4 === address || one.ipv6 === address)?.id
      const whose = id === undefined ? '' : ` (${id})`
      return `${address}${whose} ${Math.round((count / slots.length) * 100)} %`
    })
    return [
      { where: where(`picks${family}`), what: describeDrawChain(pick.data) ?? pick.data },
      { where: where(`slots${family}`), what: shares.join(', ') },
    ]
  }
}

/** `192.0.2.1 . tcp . 8080` as `192.0.2.1 port 8080/tcp`. */
function describePort(key: string): string {
  const fields = key.split(' . ')
  const [protocol, port] = fields.slice(-2)
  const address = fields.length === 3 ? `${fields[0]} ` : ''
  return `${address}port ${port}/${protocol}`
}
