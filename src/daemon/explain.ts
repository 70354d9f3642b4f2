/** The resolver's account of an answer, in sentences with the names that people know. Pure. */

import type { Explanation } from '../../resolver/explain.js'
import { replicasOf, type Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import { orderedEndpoints } from '../plan/sandbox.js'

/** One sentence a step, in the order of the decision. */
export function explainLines(
  snapshot: Snapshot,
  container: Container,
  detail: Explanation,
  upstreams: readonly string[],
): string[] {
  const networks = orderedEndpoints(snapshot, container).map(({ network }) => network.name)
  const searched = networks.length === 0 ? 'no network' : networks.join(', then ')
  return [
    `${container.name} asks ${detail.name} ${detail.type}; it searches ${searched}`,
    `${describeOutcome(detail)}: ${detail.reason}`,
    ...detail.answers.map(({ name, ttl, type, data }) => `record: ${name} ${ttl} ${type} ${data}`),
    ...detail.sources.map(source => `owned by ${describeSource(snapshot, source)}`),
    ...(detail.outcome === 'forward' ? [describeForward(upstreams)] : []),
  ]
}

function describeOutcome({ outcome }: Explanation): string {
  switch (outcome) {
    case 'answer':
      return 'answered'
    case 'no-data':
      return 'the name exists and has no such record (NODATA)'
    case 'name-error':
      return 'there is no such name (NXDOMAIN)'
    case 'failure':
      return 'refused'
    case 'forward':
      return 'not ours'
  }
}

/** `endpoint ID` and `service GROUP/NAME` are the resolver's words. */
function describeSource(snapshot: Snapshot, source: string): string {
  const [kind, id = ''] = source.split(' ')
  if (kind === 'service') return `${source}: ${replicaNames(snapshot, id)}`
  for (const container of snapshot.containers.values()) {
    const endpoint = container.endpoints.find(one => one.id === id)
    if (endpoint === undefined) continue
    const network = snapshot.networks.get(endpoint.networkId)?.name ?? endpoint.networkId
    return `container ${container.name} on network ${network} (endpoint ${id.slice(0, 12)})`
  }
  return source
}

function describeForward(upstreams: readonly string[]): string {
  if (upstreams.length === 0) return 'no upstream is known: the client gets SERVFAIL'
  return `forwarded to ${upstreams.join(', ')}`
}

/** Of `PROJECT/SERVICE`: the replicas that run. */
function replicaNames(snapshot: Snapshot, key: string): string {
  const [project = '', service = ''] = key.split('/')
  const names = replicasOf(snapshot, project, service)
    .filter(({ id }) => snapshot.statuses.get(id)?.state === 'running')
    .map(({ name }) => name)
  return names.length === 0 ? 'no replica runs' : names.join(', ')
}
