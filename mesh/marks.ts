/** The bits of packet and connection marks that are the mesh's, so that it knows its own ones. Pure. */

/** `SERVICE_BITS | VirtualService.mark`, on a packet from where its service is known until it is translated. */
export const SERVICE_BITS = 0x5000_0000
export const SERVICE_MASK = 0xfff0_0000
/** `POINT_BITS | IngressPoint.id`, in a replica's sandbox, on connections that came through the ingress. */
export const POINT_BITS = 0x5100_0000
export const POINT_MASK = 0xffff_f000

/** The packet mark of a service. */
export function serviceMark(mark: number): number {
  return SERVICE_BITS | mark
}

/** The connection mark of what came through a point. */
export function pointMark(id: number): number {
  return POINT_BITS | id
}

/** As nftables writes it. */
export function formatMark(mark: number): string {
  return `0x${mark.toString(16)}`
}
