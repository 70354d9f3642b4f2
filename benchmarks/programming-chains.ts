/**
 * Services as kube-proxy lays them out in nftables: a chain for each service, which draws from an
 * anonymous map of its own, and a chain for each destination. Through the same library, a change is one
 * transaction of what differs.
 */

import { runNft } from '../src/kernel/nft.js'
import { emptyState, type Destination, type MeshState, type VirtualService } from '../mesh/state.js'

const TABLE = 'ip chains'
const TARGET = 80

/** Acts on the namespace of the calling moment. */
export class ChainLayout {
  #written: MeshState = emptyState

  constructor() {
    runNft(`table ${TABLE} {
  map ports { type inet_proto . inet_service : verdict; }
  chain services { meta l4proto . th dport vmap @ports; }
  chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump services; }
  chain output { type nat hook output priority -100; fib daddr type local jump services; }
}`)
  }

  update(wanted: MeshState): void {
    const before = [...this.#written.values()].filter(one => wanted.get(one.key) !== one)
    const after = [...wanted.values()].filter(one => this.#written.get(one.key) !== one)
    if (before.length + after.length === 0) return
    const kept = new Set(after.flatMap(chainsOf))
    const known = new Set(before.flatMap(chainsOf))
    const stale = [...known].filter(chain => !kept.has(chain))
    const fresh = [...kept].filter(chain => !known.has(chain))
    const texts = [
      ...fresh.map(chain => `add chain ${TABLE} ${chain}`),
      ...before.flatMap(one => (wanted.has(one.key) ? [] : [composeEntry('delete', one)])),
      ...before.filter(one => wanted.has(one.key)).map(one => `flush chain ${TABLE} ${one.key}`),
      ...after.flatMap(service => composeRules(service, new Set(fresh))),
      ...after.flatMap(one => (this.#written.has(one.key) ? [] : [composeEntry('add', one)])),
      ...stale.map(chain => `flush chain ${TABLE} ${chain}`),
      ...stale.map(chain => `delete chain ${TABLE} ${chain}`),
    ]
    runNft(`${texts.join('\n')}\n`)
    this.#written = wanted
  }

  remove(): void {
    runNft(`delete table ${TABLE}`)
  }
}

/** The service's own first: it leads to the others. */
function chainsOf(service: VirtualService): string[] {
  return [service.key, ...service.destinations.map(one => endpointChain(service, one))]
}

function endpointChain({ key }: VirtualService, { id }: Destination): string {
  return `${key}-${id}`
}

function composeEntry(command: 'add' | 'delete', { key, ports }: VirtualService): string {
  const elements = ports.map(({ protocol, first }) => {
    const verdict = command === 'add' ? ` : goto ${key}` : ''
    return `${protocol} . ${first}${verdict}`
  })
  return `${command} element ${TABLE} ports { ${elements.join(', ')} }`
}

function composeRules(service: VirtualService, fresh: ReadonlySet<string>): string[] {
  const chains = service.destinations.map(one => endpointChain(service, one))
  const choice = chains.map((chain, index) => `${index} : goto ${chain}`).join(', ')
  const endpoints = service.destinations.flatMap((one, index) => {
    const chain = chains[index] ?? ''
    if (!fresh.has(chain)) return []
    return [`add rule ${TABLE} ${chain} meta l4proto tcp dnat to ${one.ipv4 ?? ''}:${TARGET}`]
  })
  return [
    ...endpoints,
    `add rule ${TABLE} ${service.key} numgen random mod ${chains.length} vmap { ${choice} }`,
  ]
}
