/**
 * The order in which a sandbox's networks are searched: the first that has a name answers for it.
 * moby's order (sandbox.go Less, endpoint.go sortByNetworkType), made stable.
 */

/** What the order depends on. */
export interface Attachment {
  readonly networkName: string
  /** Higher first. Default 0. */
  readonly gatewayPriority?: number
  readonly isInternal?: boolean
  readonly hasIpv4Gateway?: boolean
  readonly hasIpv6Gateway?: boolean
  /** The bridge that only carries an overlay's way out (docker_gwbridge). */
  readonly isGatewayBridge?: boolean
  /** Default `local`. Where any is `overlay` or `ingress`, overlays come first, ingress next. */
  readonly reach?: 'overlay' | 'ingress' | 'local'
}

const reachOrder = { overlay: 0, ingress: 1, local: 2 } as const

/** A sorted copy. Equal attachments keep their order. */
export function sortAttachments<A extends Attachment>(attachments: readonly A[]): readonly A[] {
  return [...attachments].sort((a, b) => byReach(a, b) || byGateway(a, b))
}

function byReach(a: Attachment, b: Attachment): number {
  return reachOrder[a.reach ?? 'local'] - reachOrder[b.reach ?? 'local']
}

function byGateway(a: Attachment, b: Attachment): number {
  return (
    (b.gatewayPriority ?? 0) - (a.gatewayPriority ?? 0) ||
    Number(a.isGatewayBridge ?? false) - Number(b.isGatewayBridge ?? false) ||
    Number(a.isInternal ?? false) - Number(b.isInternal ?? false) ||
    gatewayCount(b) - gatewayCount(a) ||
    (a.networkName < b.networkName ? -1 : a.networkName > b.networkName ? 1 : 0)
  )
}

function gatewayCount(attachment: Attachment): number {
  return Number(attachment.hasIpv4Gateway ?? false) + Number(attachment.hasIpv6Gateway ?? false)
}
