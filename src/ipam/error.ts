/** What address management refuses, each with a stable code. */

import { CodedError } from '../base/error.js'

/**
 * - `IPAM_POOL_EXHAUSTED`: no address of the subnet is free.
 * - `IPAM_NO_FREE_SUBNET`: no subnet of the default pools is free.
 * - `IPAM_ADDRESS_IN_USE`: somebody, or the network itself, has the address.
 * - `IPAM_ADDRESS_OUTSIDE`: the address is not in the subnet.
 * - `IPAM_SUBNET_OVERLAP`: the subnet shares addresses with a network or with the host's own.
 * - `IPAM_BAD_SUBNET`, `IPAM_BAD_RANGE`, `IPAM_BAD_GATEWAY`, `IPAM_BAD_ADDRESS`: not what it should be.
 */
export type IpamErrorCode =
  | 'IPAM_POOL_EXHAUSTED'
  | 'IPAM_NO_FREE_SUBNET'
  | 'IPAM_ADDRESS_IN_USE'
  | 'IPAM_ADDRESS_OUTSIDE'
  | 'IPAM_SUBNET_OVERLAP'
  | 'IPAM_BAD_SUBNET'
  | 'IPAM_BAD_RANGE'
  | 'IPAM_BAD_GATEWAY'
  | 'IPAM_BAD_ADDRESS'

export class IpamError extends CodedError<IpamErrorCode> {}
