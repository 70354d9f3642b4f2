/** The way of a new connection, read from the kernel. */

import type { Family } from '../../../src/base/ip.js'
import { dumpElements } from '../../../src/kernel/nft-dump.js'
import { runInNetns } from '../../../src/kernel/netns.js'
import { formatMark } from '../../marks.js'
import { parseElements } from '../../nft/listing.js'
import type { Element } from '../../nft/program.js'
import type { VirtualService } from '../../state.js'
import type { Hop } from '../dataplane.js'
import { balanceKey } from './balance.js'
import { composeHostElements } from './elements.js'
import type { Ground, PlacedTable } from './ground.js'
import { transportMark } from './marks.js'

const COLLECTIONS = ['ports4', 'ports6', 'ports', 'ranges4', 'ranges6', 'ranges']

/** What the host, the namespace and IPVS do with connections to `service` now. */
export function describeWay(ground: Ground, service: VirtualService): readonly Hop[] {
  const { transit } = ground.sandbox
  const own = new Set(composeHostElements(service, ground.aliases).map(idOf))
  const host = readAll(ground.host).filter(one => own.has(idOf(one)))
  const where = `nftables, table inet ${ground.host.program.name}`
  if (host.length === 0) {
    return [{ where, what: `no port leads to service ${service.name}` }]
  }
  const everywhere = [transit[4]?.ingress, transit[6]?.ingress]
    .filter(one => one !== undefined)
    .join(' or ')
  const marks = [...new Set(service.ports.map(one => transportMark(service.mark, one.protocol)))]
  return [
    ...host.map(({ collection, key, data }): Hop => {
      const to = data === '' ? everywhere : data
      return { where: `${where}, ${collection}`, what: `${describePort(key)} goes to ${to}` }
    }),
    ...describeMarks(ground, service, marks),
    ...marks.flatMap(mark =>
      ([4, 6] as const).flatMap(family => describeBalance(ground, service, family, mark)),
    ),
  ]
}

function describeMarks(ground: Ground, { name }: VirtualService, marks: readonly number[]): Hop[] {
  const texts = new Set(marks.map(String))
  const where = `ingress namespace, nftables, table inet ${ground.ingress.program.name}`
  const found = readAll(ground.ingress).filter(one => texts.has(one.data))
  if (found.length === 0) return [{ where, what: `no port is service ${name}: refused at once` }]
  return found.map(({ collection, key, data }) => ({
    where: `${where}, ${collection}`,
    what: `${describePort(key)} gets mark ${formatMark(Number(data))}, service ${name}`,
  }))
}

function describeBalance(
  { balancer }: Ground,
  service: VirtualService,
  family: Family,
  mark: number,
): Hop[] {
  const key = balanceKey(family, mark)
  const what = balancer.describe(key)
  const where = `ingress namespace, IPVS, fwmark ${mark} (IPv${family})`
  if (what === undefined) {
    return [{ where, what: `nobody takes IPv${family} connections: refused at once` }]
  }
  const destinations = balancer.list(key).map(({ destination, activeConnections }) => {
    const { address, weight } = destination
    const id = service.destinations.find(one => one.ipv4 === address || one.ipv6 === address)?.id
    const whose = id === undefined ? '' : ` (${id})`
    const state = weight === 0 ? 'takes no new ones' : `weight ${weight}`
    return `${address}${whose} ${state}, ${activeConnections} active`
  })
  return [{ where, what: `${what}: ${destinations.join('; ') || 'no destination'}` }]
}

function readAll({ netns, program }: PlacedTable): Element[] {
  return runInNetns(netns, () =>
    program.collections
      .filter(one => COLLECTIONS.includes(one.name))
      .flatMap(one => parseElements(one, dumpElements(program.name, one.name))),
  )
}

function idOf({ collection, key }: Element): string {
  return `${collection} ${key}`
}

/** `192.0.2.1 . tcp . 8080` as `192.0.2.1 port 8080/tcp`. */
function describePort(key: string): string {
  const fields = key.split(' . ')
  const [protocol, port] = fields.slice(-2)
  const address = fields.length === 3 ? `${fields[0]} ` : ''
  return `${address}port ${port}/${protocol}`
}
